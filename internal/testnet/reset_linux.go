package testnet

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// A socket whose peer has sent a FIN always reads as EOF, so an RST that comes
// afterwards is visible to poll(2) only: POLLERR until somebody has taken the
// error, POLLHUP for ever.

// hungUp reports whether c is dead in both directions.
func hungUp(c net.Conn) bool {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	var ev int16
	err = raw.Control(func(fd uintptr) { ev = poll(fd) })
	return err == nil && ev&(unix.POLLERR|unix.POLLHUP) != 0
}

// awaitReset returns true when an RST follows the FIN that c has had, and false
// when c is closed here or has ended in both directions without one.
func awaitReset(c net.Conn) bool {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	var ev int16
	// Read calls back after every change that the runtime's poller is told of,
	// which includes errors and hang-ups.
	err = raw.Read(func(fd uintptr) bool {
		ev = poll(fd)
		return ev&(unix.POLLERR|unix.POLLHUP) != 0
	})
	return err == nil && ev&unix.POLLERR != 0
}

func poll(fd uintptr) int16 {
	p := []unix.PollFd{{Fd: int32(fd)}}
	for {
		if _, err := unix.Poll(p, 0); err != unix.EINTR {
			return p[0].Revents
		}
	}
}
