//go:build unix

package conns

import (
	"io"

	"golang.org/x/sys/unix"
)

// peekEnd returns when the connection is at its end, without having read from
// it, or the read deadline is over.
func (c *Conn) peekEnd() error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var end error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR || n > 0:
			return false // until something else comes
		case err == nil:
			err = io.EOF
		}
		end = err
		return true
	})
	if err != nil {
		return err
	}
	return end
}
