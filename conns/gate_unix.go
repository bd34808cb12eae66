//go:build unix

package conns

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// File returns a duplicate of the listening socket to be passed to another
// process. The caller closes it; the gate goes on serving.
//
// It stands in for net.TCPListener.File, whose *os.File makes the socket
// blocking when Fd is called on it, and with it the descriptors of every process
// that shares the socket: their accept can then no longer be interrupted.
func (g *Gate) File() (*os.File, error) {
	sc, ok := g.ln.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("conns: pass on the socket of a %T: it has no descriptor", g.ln)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("conns: pass on the socket: %w", err)
	}
	fd, dupErr := -1, error(nil)
	err = rc.Control(func(own uintptr) {
		fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err == nil {
		err = os.NewSyscallError("fcntl", dupErr)
	}
	if err != nil {
		return nil, fmt.Errorf("conns: pass on the socket: %w", err)
	}
	return os.NewFile(uintptr(fd), g.Addr().String()), nil
}
