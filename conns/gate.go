package conns

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// The pause after an accept error doubles from the first to the last of these,
// as in net/http.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// Gate is a net.Listener that can be shut and opened again. While it is shut the
// socket stays open, so that clients queue in its backlog or are accepted by
// another process that shares it.
//
// A listener without SetDeadline (anything but TCP and unix sockets) cannot be
// interrupted: an accept that is under way when Shut is called then outlasts it
// and may deliver one more connection.
type Gate struct {
	// OnError is told of each accept error that the gate survives (no descriptors
	// left, for instance), after which it pauses. Nil drops them. It must be set
	// before the first Accept.
	OnError func(error)

	ln net.Listener
	dl deadliner // nil: ln cannot be interrupted

	mu          sync.Mutex
	changed     *sync.Cond // any of the fields below
	state       gateState
	accepting   int        // calls inside ln.Accept
	interrupted bool       // ln has a deadline, to be cleared before the next accept
	injected    []net.Conn // waiting for an Accept
}

type gateState uint8

const (
	gateOpen gateState = iota
	gateShut
	gateClosed
)

type deadliner interface{ SetDeadline(time.Time) error }

// NewGate returns an open gate on ln and owns ln from now on. A unix socket's
// path is not unlinked by Close; see SetUnlinkOnClose.
func NewGate(ln net.Listener) *Gate {
	g := &Gate{ln: ln}
	g.changed = sync.NewCond(&g.mu)
	g.dl, g.interrupted = ln.(deadliner) // whatever deadline ln comes with is not ours
	g.SetUnlinkOnClose(false)
	return g
}

// SetUnlinkOnClose says whether Close removes the path of a unix socket. Only
// the last process to serve a path may do so: the others would take it away from
// their successor.
func (g *Gate) SetUnlinkOnClose(unlink bool) {
	if u, ok := g.ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(unlink)
	}
}

// Addr returns the listener's address.
func (g *Gate) Addr() net.Addr { return g.ln.Addr() }

// Accept returns the next connection, injected ones first. It blocks while the
// gate is shut and returns net.ErrClosed once it is closed. Errors that pass do
// not reach the caller: Accept tells OnError, pauses, and tries again.
func (g *Gate) Accept() (net.Conn, error) { return g.accept(nil) }

// accept is Accept with a last word: admit sees a connection before Shut can
// return, so that nobody who waits for the connections to end misses it.
func (g *Gate) accept(admit func(net.Conn) net.Conn) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var pause time.Duration
	for {
		switch {
		case g.state == gateClosed:
			return nil, &net.OpError{Op: "accept", Net: g.Addr().Network(), Addr: g.Addr(), Err: net.ErrClosed}
		case len(g.injected) > 0:
			c := g.injected[0]
			g.injected[0] = nil
			g.injected = g.injected[1:]
			if admit != nil {
				c = admit(c)
			}
			return c, nil
		case g.state == gateShut:
			g.changed.Wait()
			continue
		}
		c, err := g.acceptOnce(admit)
		switch {
		case err == nil:
			return c, nil
		case g.state == gateClosed:
			continue
		case g.dl != nil && errors.Is(err, os.ErrDeadlineExceeded):
			g.interrupted = true // by Shut or Inject; a deadline of anybody else goes too
			continue
		case !passes(err):
			return nil, err
		}
		pause = min(max(2*pause, minAcceptPause), maxAcceptPause)
		g.rest(err, pause)
	}
}

// acceptOnce leaves g.mu for the time of one call to the listener.
func (g *Gate) acceptOnce(admit func(net.Conn) net.Conn) (net.Conn, error) {
	if g.interrupted {
		g.interrupted = false
		g.dl.SetDeadline(time.Time{})
	}
	g.accepting++
	g.mu.Unlock()
	c, err := g.ln.Accept()
	if err == nil && admit != nil {
		c = admit(c)
	}
	g.mu.Lock()
	g.accepting--
	g.changed.Broadcast()
	return c, err
}

// rest tells OnError and waits, until the pause is over or anything changes that
// concerns Accept.
func (g *Gate) rest(err error, pause time.Duration) {
	if g.OnError != nil {
		g.mu.Unlock()
		g.OnError(err)
		g.mu.Lock()
	}
	over := false
	timer := time.AfterFunc(pause, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		over = true
		g.changed.Broadcast()
	})
	defer timer.Stop()
	for !over && g.state == gateOpen && len(g.injected) == 0 {
		g.changed.Wait()
	}
}

// Shut stops accepting. When it returns, no accept(2) is under way in this
// process and none will begin before Open; what had been accepted is delivered.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != gateOpen {
		return
	}
	g.state = gateShut
	g.changed.Broadcast()
	g.interrupt()
	for g.dl != nil && g.state == gateShut && g.accepting > 0 {
		g.changed.Wait()
	}
}

// isShut reports whether others accept, if anybody does.
func (g *Gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state == gateShut
}

// Open accepts again after Shut. It does nothing on a closed gate.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == gateShut {
		g.state = gateOpen
		g.changed.Broadcast()
	}
}

// Inject hands a connection to the next Accept, even while the gate is shut. It
// does not wait for it. If the gate is closed it returns net.ErrClosed and c
// remains the caller's.
func (g *Gate) Inject(c net.Conn) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == gateClosed {
		return net.ErrClosed
	}
	g.injected = append(g.injected, c)
	g.changed.Broadcast()
	g.interrupt()
	return nil
}

// Close closes this process's descriptor of the socket and releases every
// Accept. Connections that were injected and never accepted are closed. Closing
// again does nothing.
func (g *Gate) Close() error {
	g.mu.Lock()
	if g.state == gateClosed {
		g.mu.Unlock()
		return nil
	}
	g.state = gateClosed
	left := g.injected
	g.injected = nil
	g.changed.Broadcast()
	g.mu.Unlock()
	for _, c := range left {
		c.Close()
	}
	return g.ln.Close()
}

// interrupt makes every ln.Accept that is under way return. A deadline belongs
// to this process's poller: the other holders of the socket do not notice. An
// accept(2) that has succeeded still returns its connection.
func (g *Gate) interrupt() {
	if g.dl != nil && g.accepting > 0 {
		g.interrupted = true
		g.dl.SetDeadline(time.Unix(1, 0))
	}
}

// passes reports whether accept may succeed later. accept(2) returns errors of
// the new connection and of exhausted resources as its own; only those that say
// that this is no listening socket (any more) are final.
func passes(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		var ne interface{ Temporary() bool }
		return errors.As(err, &ne) && ne.Temporary()
	}
	switch errno {
	case syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP:
		return false
	}
	return true
}
