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

// awaitEnd returns when the process of a pidfd has ended. It keeps no thread, as
// poll(2) and waitid(2) would: a process that may have no more threads is ended by
// the runtime of Go when it needs one. The descriptor does not block from now on.
func awaitEnd(pidfd int) error {
	fd, err := unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot be watched: %w", err)
	}
	unix.SetNonblock(fd, true) // it is what has os.File use the poller
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Read(hasEnded)
	}
	if err != nil {
		return fmt.Errorf("cannot be watched: %w", err)
	}
	return nil
}

// hasEnded says whether the process of a pidfd has (pidfd_open(2)).
func hasEnded(pidfd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// awaitExit returns when p has ended, or says why that cannot be told.
func awaitExit(p *os.Process) (err error) {
	if none := p.WithHandle(func(pidfd uintptr) { err = awaitEnd(int(pidfd)) }); none != nil {
		return none
	}
	return err
}
