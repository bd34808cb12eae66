package handover

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// asSibling makes the process that is about to be started a child of this one's
// parent (CLONE_PARENT in clone(2)). systemd does not wait for a main process
// that is not its child when it stops a unit, but kills it, and it decides that
// when it is told MAINPID=, which is while this process still lives.
//
// wait returns when the process has ended, by its pidfd.
func asSibling(attr *syscall.SysProcAttr) (wait func() (*os.ProcessState, error), err error) {
	attr.Cloneflags |= unix.CLONE_PARENT
	pidfd := -1
	attr.PidFD = &pidfd
	return func() (*os.ProcessState, error) {
		if pidfd < 0 { // Linux before 5.4
			return nil, errors.New("cannot be watched: this kernel has no pidfd")
		}
		defer unix.Close(pidfd)
		if err := awaitEnd(pidfd); err != nil {
			return nil, err
		}
		return nil, errors.New("ended; its exit status was for the parent of both")
	}, nil
}

// awaitEnd returns when the process of a pidfd has ended.
func awaitEnd(pidfd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("cannot be watched: %w", err)
		}
	}
}
