package handover

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// NewSoloLock makes the thing that generations lock: a memfd, so that it has no
// path to leave behind and dies with the last process that holds it.
func NewSoloLock() (*os.File, error) {
	fd, err := unix.MemfdCreate("segue-solo", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make the lock for solo tasks: %w", err)
	}
	return os.NewFile(uintptr(fd), "segue-solo"), nil
}

// reopen goes through /proc because only open(2) makes a new description.
func reopen(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var own *os.File
	var openErr error
	err = raw.Control(func(fd uintptr) {
		own, openErr = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR, 0)
	})
	return own, errors.Join(err, openErr)
}

func tryLock(f *os.File) (bool, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var lockErr error
	if err := raw.Control(func(fd uintptr) { lockErr = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		return false, err
	}
	if errors.Is(lockErr, unix.EWOULDBLOCK) {
		return false, nil
	}
	return lockErr == nil, lockErr
}
