package supervise

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// sockets are the listening sockets of the service. The supervisor holds their
// descriptors and never accepts. Some it was told to open, others a generation
// has opened and handed over to be kept for the next one. Safe for concurrent
// use.
type sockets struct {
	mu   sync.Mutex
	list []socket
}

type socket struct {
	handover.Socket
	addr net.Addr
	by   int // the generation that opened it; 0 for the supervisor
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
			errs = append(errs, fmt.Errorf("cannot open socket %q: %w", l.Name, err))
		}
	}
	return s, errors.Join(errs...)
}

func (s *sockets) open(l Listen) error {
	ln, err := handover.Listen(l.Addr)
	if err != nil {
		return err
	}
	defer ln.Close() // a duplicate is kept: an os.File that is passed on leaves the blocking mode alone
	return s.add(l.Name, ln.(syscall.Conn), ln.Addr(), 0)
}

func (s *sockets) add(name string, c syscall.Conn, addr net.Addr, by int) error {
	f, err := handover.Dup(c, name)
	if err != nil {
		return err
	}
	s.list = append(s.list, socket{handover.Socket{Name: name, File: f}, addr, by})
	return nil
}

// keep takes a socket that a generation has opened, to pass it to the next.
func (s *sockets) keep(name string, f *os.File, by int) error {
	if err := handover.CheckName(name); err != nil {
		return err
	}
	ln, err := handover.Socket{Name: name, File: f}.Listener()
	if err != nil {
		return err
	}
	defer ln.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.list, func(o socket) bool { return o.Name == name }) {
		return fmt.Errorf("cannot keep socket %q: there is one of that name already", name)
	}
	return s.add(name, f, ln.Addr(), by)
}

// drop lets go of the kept sockets that unwanted says. A client that connects
// to a socket that nobody accepts from would wait for ever.
func (s *sockets) drop(unwanted func(name string, by int) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.DeleteFunc(s.list, func(o socket) bool {
		if o.by == 0 || !unwanted(o.Name, o.by) {
			return false
		}
		o.File.Close()
		return true
	})
}

// all is what the next generation is given.
func (s *sockets) all() []handover.Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]handover.Socket, len(s.list))
	for i, o := range s.list {
		list[i] = o.Socket
	}
	return list
}

// kept are the names of the sockets that generations have opened.
func (s *sockets) kept() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.list {
		if o.by > 0 {
			names = append(names, o.Name)
		}
	}
	return names
}

// close lets go of the sockets, and removes the paths of unix sockets.
func (s *sockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.list {
		o.File.Close()
		if o.addr.Network() == "unix" {
			os.Remove(o.addr.String())
		}
	}
	s.list = nil
}

// find is the socket called name; "" is the one called "web", or the first.
func (s *sockets) find(name string) (socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := name
	if want == "" {
		want = "web"
	}
	i := slices.IndexFunc(s.list, func(o socket) bool { return o.Name == want })
	switch {
	case i >= 0:
		return s.list[i], nil
	case name == "" && len(s.list) > 0:
		return s.list[0], nil
	}
	return socket{}, fmt.Errorf("the supervisor has no socket %q", want)
}

func (s *sockets) status() []client.Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]client.Socket, 0, len(s.list))
	for _, o := range s.list {
		list = append(list, client.Socket{Name: o.Name, Addr: handover.JoinAddr(o.addr)})
	}
	return list
}
