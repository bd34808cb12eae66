package launch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/segue-go/segue/handover"
	"golang.org/x/sys/unix"
)

// self is this very program, also when another one is at its path by now.
const self = "/proc/self/exe"

// timeout bounds what comes between fork and exec.
const timeout = 10 * time.Second

// started is what the new process says right before it becomes the program. EOF
// without it is a death, EOF after it the program's begin.
const started = '.'

// failure is what the new process could not do.
type failure struct {
	Doing string // "" is the execution of the program
	Errno syscall.Errno
}

func supported() error { return nil }

// permitted is a, when this process may become that one; nil when it is already.
func (a account) permitted() (*account, error) {
	if a.UID != os.Geteuid() && !capable(unix.CAP_SETUID) {
		return nil, fmt.Errorf("cannot run as user %d: this process is of user %d and may not change that; run the supervisor as root", a.UID, os.Geteuid())
	}
	switch {
	case capable(unix.CAP_SETGID):
		return &a, nil
	case a.UID != os.Geteuid() || a.GID != os.Getegid():
		return nil, fmt.Errorf("cannot run as group %d: this process is of group %d and may not change that; run the supervisor as root", a.GID, os.Getegid())
	}
	return nil, nil
}

// ready says that Main was called. Without it a launch would be one more supervisor, or
// a run of all tests.
var ready bool

// start starts this program, which becomes c's.
func (i instruction) start(c handover.Command) (*handover.Process, error) {
	if !ready {
		return nil, fmt.Errorf("cannot start %s: this program cannot become it; have its main, or TestMain, call launch.Main first", c.Path)
	}
	ours, theirs, err := pair()
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c.Path, err)
	}
	defer ours.Close()
	child := c
	child.Path, child.Launch = self, theirs
	child.Env = nil // the service's is not for what still runs as the supervisor's user
	p, err := handover.Start(child)
	theirs.Close()
	if err != nil {
		return nil, handover.StartError(c, errors.Unwrap(err))
	}
	if err := i.tell(ours, c); err != nil {
		p.Signal(os.Kill)
		<-p.Done()
		return nil, err
	}
	return p, nil
}

// tell returns when the program begins, or says why it does not.
func (i instruction) tell(to *os.File, c handover.Command) error {
	to.SetDeadline(time.Now().Add(timeout))
	err := json.NewEncoder(to).Encode(i)
	var said []byte
	if err == nil {
		said, err = io.ReadAll(to)
	}
	said, begun := bytes.CutPrefix(said, []byte{started})
	switch {
	case err != nil:
		return fmt.Errorf("cannot start %s: nothing is heard of the new process: %w", c.Path, err)
	case len(said) > 0:
		var f failure
		if err := json.Unmarshal(said, &f); err != nil {
			return fmt.Errorf("cannot start %s: %w", c.Path, err)
		}
		return i.explain(f, c)
	case !begun:
		return fmt.Errorf("cannot start %s: the new process has ended before the program began", c.Path)
	}
	return nil
}

func (i instruction) explain(f failure, c handover.Command) error {
	switch {
	case f.Doing != "":
		return fmt.Errorf("cannot start %s: cannot %s: %w", c.Path, f.Doing, f.Errno)
	case f.Errno == unix.EACCES && i.Account != nil:
		return fmt.Errorf("cannot start %s: %w; user %d must be able to execute it (chmod +x), and to enter the directories that it is in", c.Path, f.Errno, i.Account.UID)
	case f.Errno == unix.EAGAIN:
		return fmt.Errorf("cannot start %s: %w; its user has more processes than the limit nproc allows: raise it", c.Path, f.Errno)
	}
	return handover.StartError(c, &fs.PathError{Op: "exec", Path: c.Path, Err: f.Errno})
}

// pair are two ends, of which one waits without a thread.
func pair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot talk to the new process: %w", err)
	}
	unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "launch"), os.NewFile(uintptr(fds[1]), "launch"), nil
}

// Main is for the first line of the supervisor's main, and of TestMain in packages
// that call [Spec.Start]: when this process is a launch, it becomes the program and
// Main does not return.
func Main() {
	ready = true
	v := os.Getenv(handover.EnvLaunch)
	if v == "" {
		return
	}
	fd, err := strconv.Atoi(v)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot launch: %s=%q is not a descriptor (%v); unset it\n", handover.EnvLaunch, v, err)
		os.Exit(2)
	}
	from := os.NewFile(uintptr(fd), "launch")
	var i instruction
	if err := json.NewDecoder(from).Decode(&i); err != nil {
		os.Exit(2) // who wanted to start it is gone
	}
	json.NewEncoder(from).Encode(i.become(from))
	os.Exit(2)
}
