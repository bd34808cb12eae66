package supervise

import (
	"os"

	"golang.org/x/sys/unix"
)

// outputOf is the open file that process pid has as its standard output.
func outputOf(pid int) (*os.File, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(process)
	fd, err := unix.PidfdGetfd(process, 1, 0) // close-on-exec
	if err != nil {
		return nil, os.NewSyscallError("pidfd_getfd", err)
	}
	return os.NewFile(uintptr(fd), "stdout"), nil
}
