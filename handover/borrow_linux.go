package handover

import "net"

// Borrow takes duplicates of listening sockets out of a process.
func Borrow(pid int, started uint64, name func(net.Addr) string) ([]Socket, error) {
	return nil, ErrProcessGone
}
