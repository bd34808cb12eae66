//go:build unix

package conns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// adoptedSocket is a connection whose descriptor came from another process.
// net.FileConn would duplicate it and ask the kernel for what is known already,
// at four times the price.
type adoptedSocket struct {
	f             *os.File
	network       string
	local, remote net.Addr
}

// adoptSocket takes over fd.
func adoptSocket(fd int, network, local, remote string) (net.Conn, error) {
	s := &adoptedSocket{network: network}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err == nil && kind != unix.SOCK_STREAM {
		err = errors.New("it is not a stream")
	}
	if err == nil {
		err = unix.SetNonblock(fd, true) // else a read could not be interrupted
	}
	if err == nil {
		s.local, err = parseAddr(network, local)
	}
	if err == nil {
		s.remote, err = parseAddr(network, remote)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("its descriptor cannot be used: %w", err)
	}
	s.f = os.NewFile(uintptr(fd), "moved connection")
	return s, nil
}

func parseAddr(network, addr string) (net.Addr, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
		ap, err := netip.ParseAddrPort(addr)
		return net.TCPAddrFromAddrPort(ap), err
	case "unix":
		return &net.UnixAddr{Name: addr, Net: network}, nil
	}
	return nil, fmt.Errorf("its network is %q", network)
}

// closeDescriptor closes one that was not adopted.
func closeDescriptor(fd int) { unix.Close(fd) }

func (s *adoptedSocket) LocalAddr() net.Addr           { return s.local }
func (s *adoptedSocket) RemoteAddr() net.Addr          { return s.remote }
func (s *adoptedSocket) SetDeadline(t time.Time) error { return s.wrap("set", s.f.SetDeadline(t)) }
func (s *adoptedSocket) SetReadDeadline(t time.Time) error {
	return s.wrap("set", s.f.SetReadDeadline(t))
}
func (s *adoptedSocket) SetWriteDeadline(t time.Time) error {
	return s.wrap("set", s.f.SetWriteDeadline(t))
}
func (s *adoptedSocket) SyscallConn() (syscall.RawConn, error) { return s.f.SyscallConn() }
func (s *adoptedSocket) Close() error                          { return s.wrap("close", s.f.Close()) }

func (s *adoptedSocket) Read(p []byte) (int, error) {
	n, err := s.f.Read(p)
	return n, s.wrap("read", err)
}

func (s *adoptedSocket) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	return n, s.wrap("write", err)
}

// CloseWrite is shutdown(2) of the writing side.
func (s *adoptedSocket) CloseWrite() error {
	raw, err := s.f.SyscallConn()
	if err != nil {
		return s.wrap("close", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.Shutdown(int(fd), unix.SHUT_WR) })
	return s.wrap("close", errors.Join(err, failed))
}

// wrap makes a net.Error of what the file returns: net/http looks for nothing
// else.
func (s *adoptedSocket) wrap(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if errors.Is(err, fs.ErrClosed) {
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: s.network, Source: s.local, Addr: s.remote, Err: err}
}
