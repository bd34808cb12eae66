package launch

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/segue-go/segue/handover"
	"golang.org/x/sys/unix"
)

// become makes this process the program, and returns only if that has failed.
//
// To the kernel user, groups and capabilities are a thread's own, and a program has
// those of the thread that executes it; the others end there. So one thread does it
// all. Package syscall would have every thread do it, and tells them by a signal, which
// a limit of pending signals can keep from ever arriving.
func (i instruction) become(status *os.File) failure {
	runtime.LockOSThread()
	env := environ(i.Env, i.ListenPID)
	debug.SetGCPercent(-1) // from here on memory and threads may be limited
	steps := []struct {
		doing string
		do    func() error
	}{
		{"set the group", i.setGroups},
		{"set limits", i.setLimits}, // before the right to raise them goes
		{"set the user", i.setUser},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return failed(s.doing, err)
		}
	}
	if i.Umask != nil {
		unix.Umask(int(*i.Umask))
	}
	if _, err := status.Write([]byte{started}); err != nil {
		return failed("say that it begins", err)
	}
	// Restores the soft limit of open files, which the Go runtime has raised for
	// itself, unless it was set here.
	return failed("", syscall.Exec(string(i.Path), os.Args, env))
}

func failed(doing string, err error) failure {
	f := failure{Doing: doing, Errno: unix.EIO}
	errors.As(err, &f.Errno)
	var l limitError
	if errors.As(err, &l) {
		f.Doing = l.doing
	}
	return f
}

type limitError struct {
	doing string
	error
}

func (e limitError) Unwrap() error { return e.error }

func (i instruction) setLimits() error {
	for _, l := range i.Limits {
		if err := unix.Setrlimit(l.Resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			return limitError{fmt.Sprintf("set limit %s to %s, at most %s", l.Name, amount(l.Soft), amount(l.Hard)), err}
		}
	}
	return nil
}

func (i instruction) setGroups() error {
	if i.Account == nil {
		return nil
	}
	if i.Account.Groups != nil {
		if err := unix.Setgroups(i.Account.Groups); err != nil { // of this thread, unlike that of syscall
			return err
		}
	}
	return setID(sysSetresgid, i.Account.GID)
}

func (i instruction) setUser() error {
	if i.Account == nil {
		return nil
	}
	if i.Account.UID != os.Geteuid() {
		// From a user other than root they would go with the program.
		err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		if err != nil && !errors.Is(err, unix.EINVAL) { // Linux before 4.3 has none
			return err
		}
	}
	return setID(sysSetresuid, i.Account.UID)
}

// setID sets the real, the effective and the saved one.
func setID(call uintptr, id int) error {
	if _, _, errno := unix.RawSyscall(call, uintptr(id), uintptr(id), uintptr(id)); errno != 0 {
		return errno
	}
	return nil
}

// environ keeps the last one of each variable, as os/exec does, and says whose the
// descriptors are.
func environ(variables [][]byte, listenPID bool) (env []string) {
	place := map[string]int{}
	for _, v := range variables {
		k, _, _ := strings.Cut(string(v), "=")
		if n, ok := place[k]; ok {
			env[n] = string(v)
			continue
		}
		place[k] = len(env)
		env = append(env, string(v))
	}
	if !listenPID {
		return env
	}
	pid := strconv.Itoa(os.Getpid())
	for given, whose := range map[string]string{handover.EnvListenFDs: handover.EnvListenPID, handover.EnvWatchdogUsec: handover.EnvWatchdogPID} {
		if _, ok := place[given]; ok {
			env = append(env, whose+"="+pid)
		}
	}
	return env
}
