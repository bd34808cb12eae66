//go:build unix

package control

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// duplicate is ln.File without making the socket block.
func duplicate(ln *net.UnixListener) (*os.File, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot pass the API socket on: %w", err)
	}
	fd := -1
	var dupErr error
	if err := raw.Control(func(orig uintptr) { fd, dupErr = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 3) }); err != nil {
		return nil, fmt.Errorf("cannot pass the API socket on: %w", err)
	}
	if dupErr != nil {
		return nil, fmt.Errorf("cannot pass the API socket on: %w", dupErr)
	}
	return os.NewFile(uintptr(fd), "api.sock"), nil
}
