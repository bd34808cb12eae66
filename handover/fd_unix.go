//go:build unix

package handover

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// adopt takes over an inherited descriptor. The description is shared with
// other processes: it is set non-blocking before os.NewFile looks at it, because
// for a descriptor that is non-blocking already Fd does not clear the flag again.
func adopt(fd int, name string) *os.File {
	unix.CloseOnExec(fd)
	unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}

// inheritFD is adopt for a descriptor that only the environment tells of.
func inheritFD(fd int, name string) (*os.File, error) {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return nil, fmt.Errorf("cannot inherit %q: descriptor %d is not open (%w)", name, fd, err)
	}
	return adopt(fd, name), nil
}

// checkListening: a connected socket makes a listener too, whose first Accept
// fails; Accept=yes in systemd.socket(5) passes such ones.
func checkListening(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var yes int
	var optErr error
	if err := raw.Control(func(fd uintptr) { yes, optErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN) }); err != nil {
		return err
	}
	if optErr == nil && yes == 0 {
		return errors.New("nobody called listen on it")
	}
	return optErr
}

// Dup returns a second descriptor for the socket (or file) behind c, fit to be
// passed on: close-on-exec here, and with the blocking mode of the shared
// description left alone, which File and Fd of package net would change.
func Dup(c syscall.Conn, name string) (*os.File, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot duplicate socket %q: %w", name, err)
	}
	var fd int
	var dupErr error
	if err := raw.Control(func(s uintptr) { fd, dupErr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, firstInheritedFD) }); err != nil {
		return nil, fmt.Errorf("cannot duplicate socket %q: %w", name, err)
	}
	if dupErr != nil {
		return nil, fmt.Errorf("cannot duplicate socket %q: %w (raise the limit of open files, ulimit -n)", name, dupErr)
	}
	return os.NewFile(uintptr(fd), name), nil
}
