package segue

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/handover"
)

// readHeaderTimeout of servers that the user did not make: a client that never
// finishes its headers must not hold a connection for ever.
const readHeaderTimeout = 10 * time.Second

// anySocket is the name a server has when it takes the one socket there is.
const anySocket = "web"

// server is one named socket with what serves it.
type server struct {
	name, addr string
	any        bool // takes the only inherited socket, whatever its name
	impl       Server

	ln    net.Listener
	given string // the name under which ln was inherited
	gate  *conns.Gate
	http  *conns.HTTP    // when impl is an *http.Server
	other *conns.Tracker // otherwise
	told  conns.Live     // the loop's: the counts that were told last

	opened bool // by this process
	owned  bool // by this lineage, and inherited
}

// bind finds or opens the socket and puts the connection layer on it; the gate
// is shut. in loses the socket that was taken. problem is told, about once a
// second at most, when connections cannot be accepted.
func (s *server) bind(in *handover.Inheritance, problem func(error)) error {
	inherited := false
	for i, sock := range in.Sockets {
		if sock.Name != s.name && !(s.any && len(in.Sockets) == 1) {
			continue
		}
		ln, err := sock.Listener()
		if err != nil {
			return err
		}
		sock.File.Close()
		in.Sockets = append(in.Sockets[:i:i], in.Sockets[i+1:]...)
		s.ln, s.given, inherited = ln, sock.Name, true
		break
	}
	if !inherited {
		ln, err := handover.Listen(s.addr)
		if err != nil {
			return fmt.Errorf("cannot serve %q: %w", s.name, err)
		}
		s.ln = ln
	}
	s.opened, s.owned = !inherited, in.Predecessor > 0
	s.gate = conns.NewGate(s.ln)
	s.gate.OnError = func(err error) {
		problem(fmt.Errorf("server %q cannot accept: %w; if descriptors are short, raise the limit (ulimit -n)", s.name, err))
	}
	s.gate.Shut()
	if hs, ok := s.impl.(*http.Server); ok {
		s.http = conns.NewHTTP(hs)
	} else {
		s.other = &conns.Tracker{}
	}
	return nil
}

// serve runs until the server has been shut down; any other end is an error.
func (s *server) serve() error {
	var err error
	if s.http != nil {
		err = s.http.Serve(s.gate)
	} else {
		err = s.impl.Serve(s.other.Listener(s.gate))
	}
	if err != nil {
		return fmt.Errorf("server %q failed: %w", s.name, err)
	}
	return nil
}

// stats counts the server's connections.
func (s *server) stats() conns.Stats {
	if s.http != nil {
		return s.http.Stats()
	}
	return s.other.Stats()
}

// record has the server write down what it serves; nil ends that.
func (s *server) record(j conns.Journal) {
	if s.http != nil {
		s.http.Record(j)
	} else {
		s.other.Record(j)
	}
}

// removePath removes a unix socket that this lineage opened, when it ends; main
// says that nobody else of the lineage serves it.
func (s *server) removePath(main bool) {
	if (s.opened || s.owned && main) && s.ln != nil && s.ln.Addr().Network() == "unix" {
		os.Remove(s.ln.Addr().String())
	}
}
