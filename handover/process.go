package handover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Command is a generation to start.
type Command struct {
	Path    string   // of the program, absolute or relative to Dir
	Args    []string // including the program's name
	Dir     string   // "" is this process's
	Env     []string // the whole environment but for the wire's: nil is an empty one, nothing comes from this process
	Stdin   *os.File // nil is empty
	Stdout  *os.File // nil discards
	Stderr  *os.File // nil discards
	Group   bool     // leads a process group of its own, so that Signal reaches its children
	Sibling bool     // becomes a child of this process's parent; Linux, elsewhere an error
	Sockets []Socket // passed by name, in this order
	Solo    *os.File // see SoloLock; nil passes none
	Journal *os.File // see Journal; nil passes none
	Launch  *os.File // tells a program that becomes another one what to do first; nil passes none

	Generation   int
	Predecessor  int
	NotifySocket string
	Watchdog     string // WATCHDOG_USEC; "" for none
	Control      string
}

// Process is one that was started by [Start], or is followed by [Watch].
type Process struct {
	PID     int
	mu      sync.Mutex  // Release of an os.Process is not safe for concurrent use
	handle  *os.Process // released when it has ended
	started uint64      // 0 when it is not known
	group   bool
	done    chan struct{}
	state   *os.ProcessState // nil when only the end is known
	err     error            // why it ended; both are written before done is closed
}

// Start starts c and waits for its end in a goroutine of its own. An error says
// why nothing was started. Of a sibling only the end can be noticed: its exit
// status is for the parent.
func Start(c Command) (*Process, error) {
	cmd := &exec.Cmd{Path: c.Path, Args: c.Args, Dir: c.Dir, Env: c.Environ(), ExtraFiles: c.files(), SysProcAttr: processAttributes(c.Group)}
	// A nil *os.File in an io.Reader or io.Writer is not nil.
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
	for _, s := range c.Sockets {
		if err := CheckName(s.Name); err != nil {
			return nil, fmt.Errorf("cannot start %s: %w", c.Path, err)
		}
	}
	await := func() (*os.ProcessState, error) { return exitOf(cmd) }
	if c.Sibling {
		var err error
		if await, err = asSibling(cmd.SysProcAttr); err != nil {
			return nil, fmt.Errorf("cannot start %s: %w", c.Path, err)
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, StartError(c, err)
	}
	return follow(cmd.Process, c.Group, await), nil
}

// files are what is inherited from descriptor 3 on.
func (c Command) files() (all []*os.File) {
	for _, s := range c.Sockets {
		all = append(all, s.File)
	}
	for _, f := range []*os.File{c.Solo, c.Journal, c.Launch} {
		if f != nil {
			all = append(all, f)
		}
	}
	return all
}

// Environ is the whole environment that c's program gets.
func (c Command) Environ() []string {
	env := map[string]string{EnvNotifySocket: c.NotifySocket, EnvWatchdogUsec: c.Watchdog, EnvControl: c.Control}
	number := func(key string, n int) {
		if n > 0 {
			env[key] = strconv.Itoa(n)
		}
	}
	var names []string
	for _, s := range c.Sockets {
		names = append(names, s.Name)
	}
	number(EnvListenFDs, len(names))
	env[EnvListenNames] = strings.Join(names, ":")
	next := firstInheritedFD + len(names)
	pass := func(key string, f *os.File) {
		if f != nil {
			number(key, next)
			next++
		}
	}
	pass(EnvSolo, c.Solo)
	pass(EnvJournal, c.Journal)
	pass(EnvLaunch, c.Launch)
	number(EnvGeneration, c.Generation)
	number(EnvPredecessor, c.Predecessor)
	return mergeEnv(c.Env, env)
}

// mergeEnv drops every variable of the wire from base and adds those that are
// set: a generation must never take its parent's for its own.
func mergeEnv(base []string, wire map[string]string) []string {
	env := []string{} // not nil: os/exec takes that for the environment of this process
next:
	for _, kv := range base {
		for _, k := range wireEnv {
			if strings.HasPrefix(kv, k+"=") {
				continue next
			}
		}
		env = append(env, kv)
	}
	for _, k := range wireEnv {
		if wire[k] != "" {
			env = append(env, k+"="+wire[k])
		}
	}
	return env
}

// StartError is what [Start] says when err is why c could not be executed, for who
// executes it by other means.
func StartError(c Command, err error) error {
	hint := ""
	switch {
	case c.Dir != "" && !isDir(c.Dir):
		hint = fmt.Sprintf("; the directory %s is not there", c.Dir)
	case errors.Is(err, fs.ErrNotExist) && isFile(c):
		hint = "; the file is there, but not the interpreter that its first line or its header names"
	case errors.Is(err, fs.ErrNotExist):
		hint = "; build it, or correct the path"
	case errors.Is(err, fs.ErrPermission):
		hint = "; it must be a file that this user may execute (chmod +x)"
	case errors.Is(err, syscall.ENOEXEC):
		hint = "; it is not a program for this machine, or a script without #!"
	case errors.Is(err, syscall.ETXTBSY):
		hint = "; it is being written: put a new version in place by renaming (mv), not by copying over it"
	case errors.Is(err, syscall.EAGAIN):
		hint = "; no more processes may be started: raise the limit (ulimit -u, or pids.max of the control group: TasksMax= under systemd)"
	case errors.Is(err, syscall.EMFILE):
		hint = "; raise the limit of open files (ulimit -n, LimitNOFILE= under systemd)"
	case errors.Is(err, syscall.ENFILE):
		hint = "; the machine has no more open files: raise fs.file-max (sysctl)"
	case errors.Is(err, syscall.ENOMEM):
		hint = "; the machine, or the control group, has no memory left"
	}
	return fmt.Errorf("cannot start %s: %w%s", c.Path, err, hint)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isFile(c Command) bool {
	path := c.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Dir, path)
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// follow makes a Process of one that was not waited for yet. await returns when it has
// ended.
func follow(handle *os.Process, group bool, await func() (*os.ProcessState, error)) *Process {
	p := &Process{PID: handle.Pid, handle: handle, group: group, done: make(chan struct{})}
	p.started, _ = StartTime(p.PID) // still the same process: what has ended keeps its number until it was waited for
	go p.wait(await)
	return p
}

// wait is the one owner of the process's end.
func (p *Process) wait(await func() (*os.ProcessState, error)) {
	state, err := await()
	switch {
	case err != nil:
		p.err = err
	case state.Success():
		p.state, p.err = state, errors.New("exited with status 0")
	default:
		p.state, p.err = state, exitError{&exec.ExitError{ProcessState: state}}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handle.Release()
	close(p.done)
}

// exitOf waits for a child.
func exitOf(cmd *exec.Cmd) (*os.ProcessState, error) {
	awaitExit(cmd.Process) // when that cannot be told Wait keeps a thread, which is no harm otherwise
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("ended, and how is not known: %w", err)
	}
	return cmd.ProcessState, nil
}

// Done is closed when the process has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the process ended, also when it ended well; nil while it runs.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// ExitCode is the status for a parent that passes it on: the exit status, or
// 128 plus the number of the signal that ended the process. -1 while it runs,
// and when the status was for somebody else (see [Process.Err]).
func (p *Process) ExitCode() int {
	select {
	case <-p.done:
	default:
		return -1
	}
	if p.state == nil {
		return -1
	}
	if s := terminatedBy(p.state); s != 0 {
		return 128 + int(s)
	}
	return p.state.ExitCode()
}

// Signal sends sig to the process, and to its whole group if it leads one.
// An ended process is no error; its group gets the signal still, since its
// children may have outlived it. That is for right after its end: once the last
// of the group is gone too, the kernel may give the number to another group.
func (p *Process) Signal(sig os.Signal) error {
	if p.group {
		if p.replaced() {
			return nil
		}
		return signalGroup(p.PID, sig)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.handle.Signal(sig)
	if err == nil || errors.Is(err, os.ErrProcessDone) || p.Err() != nil {
		return nil
	}
	return fmt.Errorf("cannot signal process %d: %w", p.PID, err)
}

// replaced says whether the number is another process's by now. A number that a
// group has still is given to nobody else, so the group has ended too.
func (p *Process) replaced() bool {
	now, err := StartTime(p.PID)
	return err == nil && p.started != 0 && now != p.started
}

type exitError struct{ *exec.ExitError }

func (e exitError) Error() string {
	if s := terminatedBy(e.ProcessState); s != 0 {
		return "was ended by signal " + strconv.Itoa(int(s)) + " (" + s.String() + ")"
	}
	return "exited with status " + strconv.Itoa(e.ProcessState.ExitCode())
}
func (e exitError) Unwrap() error { return e.ExitError }
