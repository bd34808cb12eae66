//go:build unix

package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// envEstate is where an executed program finds what the one before it has left.
const envEstate = "SEGUE_ESTATE"

// estate is descriptors, by name, that this program has from the one that was
// executed in its place. Nil is an empty one.
type estate struct {
	mu    sync.Mutex
	files map[string]*os.File
}

// claimEstate takes what there is, and its variable out of the environment. An
// error means that what was left is lost.
func claimEstate() (*estate, error) {
	text := os.Getenv(envEstate)
	if text == "" {
		return nil, nil
	}
	os.Unsetenv(envEstate)
	var numbers map[string]int
	if err := json.Unmarshal([]byte(text), &numbers); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", envEstate, err)
	}
	e := &estate{files: map[string]*os.File{}}
	var errs []error
	for name, fd := range numbers {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			errs = append(errs, fmt.Errorf("cannot take over %s, descriptor %d: %w", name, fd, err))
			continue
		}
		e.files[name] = os.NewFile(uintptr(fd), name)
	}
	return e, errors.Join(errs...)
}

// take gives what is called name to the caller; nil if there is nothing.
func (e *estate) take(name string) *os.File {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.files[name]
	delete(e.files, name)
	return f
}

// close lets go of what nobody has taken.
func (e *estate) close() {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.files {
		f.Close()
	}
	clear(e.files)
}

// will is descriptors, by name, for the program that is to be executed.
type will struct{ numbers map[string]int }

// leave adds a duplicate of f.
func (w *will) leave(name string, f *os.File) error {
	if f == nil {
		return nil
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot leave %s: %w", name, err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var n int
		if n, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3); failed == nil {
			w.numbers[name] = n
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("cannot leave %s: %w", name, err)
	}
	return nil
}

// revoke closes the duplicates: nothing was executed.
func (w *will) revoke() {
	for _, fd := range w.numbers {
		unix.Close(fd)
	}
}

// execute has the duplicates survive exec(2). Nothing else is started meanwhile, which
// would have them too: a lock that a probe holds is held until the probe ends.
func (w *will) execute(binary string, env []string) error {
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	for name, fd := range w.numbers {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("cannot leave %s: %w", name, err)
		}
	}
	err := syscall.Exec(binary, os.Args, env)
	for _, fd := range w.numbers {
		unix.CloseOnExec(fd)
	}
	return err
}

// variable is what tells of them.
func (w *will) variable() (string, error) {
	text, err := json.Marshal(w.numbers)
	if err != nil {
		return "", fmt.Errorf("cannot write down what is left: %w", err)
	}
	return envEstate + "=" + string(text), nil
}
