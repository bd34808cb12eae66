package supervise

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/launch"
)

// sockets are the listening sockets of a service, of which all its instances have
// the same. The supervisor holds their descriptors and never accepts. Some it was
// told to open, others a generation has opened and handed over to be kept for the
// next one. Safe for concurrent use.
type sockets struct {
	from origin

	mu   sync.Mutex
	list []socket
	left bool // close leaves the paths of unix sockets
}

type socket struct {
	handover.Socket
	addr   net.Addr
	listen Listen      // as it was asked for; zero for one that a generation has opened
	by     *generation // that opened it; nil for the supervisor
}

// open opens what is wanted and not open yet, all or none of it; undo closes that
// again.
func (s *sockets) open(wanted []Listen) (undo func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.list)
	var errs []error
	for _, l := range wanted {
		if slices.ContainsFunc(s.list, func(o socket) bool { return o.by == nil && o.listen == l }) {
			continue
		}
		if err := s.listen(l); err != nil {
			errs = append(errs, fmt.Errorf("cannot open socket %q: %w", l.Name, err))
		}
	}
	opened := slices.Clone(s.list[before:])
	undo = func() {
		s.remove(func(o socket) bool {
			return slices.ContainsFunc(opened, func(n socket) bool { return n.File == o.File })
		})
	}
	if len(errs) > 0 {
		s.mu.Unlock()
		undo()
		s.mu.Lock()
		return func() {}, errors.Join(errs...)
	}
	return undo, nil
}

func (s *sockets) listen(l Listen) error {
	if n := slices.IndexFunc(s.list, func(o socket) bool { return o.is(l) }); n >= 0 {
		return errors.Join(s.join(l.Name, s.list[n].File, l, nil), l.dress())
	}
	if f := s.from.given(l); f != nil {
		defer f.Close()
		return s.join(l.Name, f, l, nil)
	}
	ln, err := handover.Listen(l.Addr)
	if err != nil {
		return err
	}
	defer ln.Close() // a duplicate is kept: an os.File that is passed on leaves the blocking mode alone
	if err := l.dress(); err != nil {
		os.Remove(ln.Addr().String())
		return err
	}
	return s.add(l.Name, ln.(syscall.Conn), ln.Addr(), l, nil)
}

// is says whether o is the socket that l asks for, by another name or dressed in
// another way.
func (o socket) is(l Listen) bool {
	_, port, err := net.SplitHostPort(l.Addr)
	return o.by == nil && o.listen.Addr == l.Addr && (err != nil || port != "0") // every :0 is another one
}

// dress gives a unix socket its mode and owner.
func (l Listen) dress() error {
	network, path, err := handover.SplitAddr(l.Addr)
	if err != nil || network != "unix" {
		return err
	}
	uid, gid, err := launch.Owner(l.Owner, l.Group)
	if err != nil {
		return err
	}
	if l.Owner != "" || l.Group != "" {
		if err := os.Chown(path, uid, gid); err != nil {
			return fmt.Errorf("cannot give %s its owner: %w; run the supervisor as root, or leave owner and group out", path, err)
		}
	}
	return os.Chmod(path, cmp.Or(l.Mode, 0o600))
}

func (s *sockets) add(name string, c syscall.Conn, addr net.Addr, l Listen, by *generation) error {
	f, err := handover.Dup(c, name)
	if err != nil {
		return err
	}
	s.list = append(s.list, socket{handover.Socket{Name: name, File: f}, addr, l, by})
	if by == nil {
		s.from.opened(l, f)
	}
	return nil
}

// keep takes a socket that a generation has opened, to pass it to the next.
func (s *sockets) keep(name string, f *os.File, by *generation) error {
	return s.take(name, f, Listen{}, by)
}

// take adds a socket that somebody else has opened. f stays the caller's.
func (s *sockets) take(name string, f *os.File, l Listen, by *generation) error {
	if err := handover.CheckName(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.list, func(o socket) bool { return o.Name == name }) {
		return fmt.Errorf("cannot keep socket %q: there is one of that name already", name)
	}
	return s.join(name, f, l, by)
}

// join adds a socket that listens already. The caller holds mu.
func (s *sockets) join(name string, f *os.File, l Listen, by *generation) error {
	ln, err := handover.Socket{Name: name, File: f}.Listener()
	if err != nil {
		return err
	}
	defer ln.Close()
	return s.add(name, f, ln.Addr(), l, by)
}

func (s *sockets) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.list, func(o socket) bool { return o.Name == name })
}

// each is all there is. The files stay theirs.
func (s *sockets) each() []socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// held is what there is, for the next supervisor.
func (s *sockets) held() (all []heldSocket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.list {
		h := heldSocket{Name: o.Name, Addr: handover.JoinAddr(o.addr), Listen: o.listen}
		if o.by != nil {
			h.By = o.by.number
		}
		all = append(all, h)
	}
	return all
}

// drop lets go of the kept sockets that unwanted says. A client that connects
// to a socket that nobody accepts from would wait for ever.
func (s *sockets) drop(unwanted func(name string, by *generation) bool) {
	s.remove(func(o socket) bool { return o.by != nil && unwanted(o.Name, o.by) })
}

// retain lets go of those that were opened for what is not wanted any more.
func (s *sockets) retain(wanted []Listen) {
	s.remove(func(o socket) bool { return o.by == nil && !slices.Contains(wanted, o.listen) })
}

func (s *sockets) remove(gone func(socket) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var removed []socket
	s.list = slices.DeleteFunc(s.list, func(o socket) bool {
		if !gone(o) {
			return false
		}
		removed = append(removed, o)
		return true
	})
	for _, o := range removed {
		o.File.Close()
		if o.by != nil {
			continue
		}
		n := slices.IndexFunc(s.list, func(other socket) bool { return other.is(o.listen) })
		if n < 0 || s.list[n].Name != o.Name {
			s.from.closed(o.listen)
		}
		switch {
		case n >= 0:
			s.list[n].listen.dress()
		case o.addr.Network() == "unix":
			os.Remove(o.addr.String())
		}
	}
}

// of is what a generation is given that wants these, and those that generations
// have opened.
func (s *sockets) of(wanted []Listen) []handover.Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []handover.Socket
	for _, l := range wanted {
		for _, o := range s.list {
			if o.by == nil && o.listen == l {
				list = append(list, o.Socket)
			}
		}
	}
	for _, o := range s.list {
		if o.by != nil && !slices.ContainsFunc(wanted, func(l Listen) bool { return l.Name == o.Name }) {
			list = append(list, o.Socket)
		}
	}
	return list
}

// kept are the names of the sockets that generations have opened.
func (s *sockets) kept() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.list {
		if o.by != nil {
			names = append(names, o.Name)
		}
	}
	return names
}

// leave is for sockets that somebody serves who goes on.
func (s *sockets) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
}

// close lets go of the sockets, and removes the paths of unix sockets.
func (s *sockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.list {
		o.File.Close()
		if o.addr.Network() == "unix" && !s.left && !s.from.stay() {
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
