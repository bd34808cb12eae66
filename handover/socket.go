package handover

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// maxSockets bounds what one generation can be given: far above any use, and
// below what would make reading a hostile environment expensive.
const maxSockets = 1024

// Socket is a listening socket with the name by which generations find it. The
// holder of File owns the descriptor.
type Socket struct {
	Name string
	File *os.File
}

// CheckName says whether name can name a socket: 1 to 255 printable ASCII
// characters without space, ':' (FileDescriptorName= in systemd.socket(5)) and
// '=' (which stands between name and address where users write both).
func CheckName(name string) error {
	if name == "" || len(name) > 255 {
		return fmt.Errorf("cannot use %q as a socket name: give it 1 to 255 characters", name)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == ':' || c == '=' {
			return fmt.Errorf("cannot use %q as a socket name: letters, digits and punctuation other than ':' and '=' are allowed", name)
		}
	}
	return nil
}

// SplitAddr turns an address as users write it into a network and an address
// for package net: ":8080", "127.0.0.1:0", "[::1]:80" are TCP,
// "unix:/run/shop.sock" is a unix socket.
func SplitAddr(addr string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if path == "" {
			return "", "", errors.New(`cannot listen on "unix:": add the path of the socket, as in unix:/run/shop.sock`)
		}
		return "unix", path, nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil && port == "" {
		err = errors.New("the port is missing; 0 takes any free one")
	}
	if err != nil {
		return "", "", fmt.Errorf("cannot listen on %q: write host:port, :port or unix:/path (%w)", addr, err)
	}
	return "tcp", addr, nil
}

// JoinAddr is the reverse of [SplitAddr] for an address that is bound.
func JoinAddr(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return a.String()
}

// Listener returns a listener on the socket. It owns a duplicate: the caller
// still owns s.File. Closing it does not remove a unix socket's path, since
// another process may be serving it.
func (s Socket) Listener() (net.Listener, error) {
	err := checkListening(s.File)
	var ln net.Listener
	if err == nil {
		ln, err = net.FileListener(s.File)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot serve inherited socket %q: it is not a listening stream socket (%w)", s.Name, err)
	}
	return ln, nil
}
