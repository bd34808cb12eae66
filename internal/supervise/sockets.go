package supervise

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// sockets are the listening sockets of the service. The supervisor holds their
// descriptors and never accepts.
type sockets struct {
	list  []handover.Socket
	addrs []net.Addr
}

// openSockets opens all or none.
func openSockets(wanted []Listen) (_ *sockets, err error) {
	s := &sockets{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	var errs []error
	for _, l := range wanted {
		if err := s.open(l); err != nil {
			errs = append(errs, err)
		}
	}
	return s, errors.Join(errs...)
}

func (s *sockets) open(l Listen) error {
	ln, err := handover.Listen(l.Addr)
	if err != nil {
		return fmt.Errorf("cannot open socket %q: %w", l.Name, err)
	}
	defer ln.Close() // a duplicate is kept: an os.File that is passed on leaves the blocking mode alone
	f, err := handover.Dup(ln.(syscall.Conn), l.Name)
	if err != nil {
		return err
	}
	s.list = append(s.list, handover.Socket{Name: l.Name, File: f})
	s.addrs = append(s.addrs, ln.Addr())
	return nil
}

// close lets go of the sockets, and removes the paths of unix sockets.
func (s *sockets) close() {
	for i, sock := range s.list {
		sock.File.Close()
		if s.addrs[i].Network() == "unix" {
			os.Remove(s.addrs[i].String())
		}
	}
}

func (s *sockets) addr(name string) net.Addr {
	for i, sock := range s.list {
		if sock.Name == name {
			return s.addrs[i]
		}
	}
	return nil
}

func (s *sockets) status() []client.Socket {
	list := make([]client.Socket, 0, len(s.list))
	for i, sock := range s.list {
		list = append(list, client.Socket{Name: sock.Name, Addr: handover.JoinAddr(s.addrs[i])})
	}
	return list
}
