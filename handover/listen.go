package handover

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// Listen opens a listening socket for addr, as [SplitAddr] reads it. The path of
// a unix socket that nobody listens on any more is replaced; closing the
// listener does not remove the path, since its socket may live on in another
// process. The error says what to do.
func Listen(addr string) (net.Listener, error) {
	network, address, err := SplitAddr(addr)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		if err := removeDead(address); err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", addr, err)
		}
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		hint := ""
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			hint = "; stop what listens there, or choose another address"
		case errors.Is(err, syscall.EACCES):
			hint = "; choose a port of 1024 or above, or a directory that you may write"
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			hint = "; no interface of this machine has that address"
		case network == "unix" && errors.Is(err, fs.ErrNotExist):
			hint = "; make the directory first"
		case network == "unix" && len(address) > maxSocketPath:
			hint = fmt.Sprintf("; the path has %d bytes, at most %d are possible: choose a shorter one", len(address), maxSocketPath)
		}
		return nil, fmt.Errorf("cannot listen on %s: %w%s", addr, err, hint)
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return ln, nil
}

// maxSocketPath is what fits into sockaddr_un with the NUL at the end (unix(7)).
const maxSocketPath = 107

// removeDead removes the path of a unix socket if nobody listens on it.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is not a socket is in the way; move it away")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return errors.New("it is in use; stop what listens there, or choose another path")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
