package conns

import (
	"context"
	"net"
	"sync"
	"time"
)

// Tracker knows the connections of a server that is not net/http (gRPC, for
// instance): how many there are, when the last one is gone, which were cut. Of
// their requests it knows nothing. The zero value is ready for use.
type Tracker struct {
	mu    sync.Mutex
	conns map[*Conn]struct{}
	begun uint64        // requests of connections that are gone
	empty chan struct{} // closed when conns becomes empty; nil if nobody waits

	journal Journal // of connections to come; nil when nothing is recorded

	admitted uint64        // connections so far
	settled  chan struct{} // closed when those before mark are gone; nil before it
	last     uint64        // of those
	left     int           // of those
}

// Listener returns ln with every accepted connection tracked. ln should be a
// Gate; see the package documentation.
func (t *Tracker) Listener(ln net.Listener) net.Listener {
	return t.listener(ln, func(*Conn) {})
}

// listener has every connection prepared before it is counted.
func (t *Tracker) listener(ln net.Listener, prepare func(*Conn)) *listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conns == nil {
		t.conns = make(map[*Conn]struct{})
	}
	return &listener{Listener: ln, admit: func(nc net.Conn) net.Conn {
		if c := owner(nc); c != nil {
			return nc // it was admitted, and comes from its handshake
		}
		c := &Conn{Conn: nc, stream: nc, tracker: t, since: t.now()}
		prepare(c)
		t.admit(c)
		return c
	}}
}

// admit begins to count c. One that comes from another process is recorded later,
// see recordArrived.
func (t *Tracker) admit(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns[c] = struct{}{}
	if t.journal != nil && !c.adopted {
		c.recordTo(t.journal)
	}
	t.admitted++
	c.serial = t.admitted
}

type listener struct {
	net.Listener
	admit func(net.Conn) net.Conn
}

func (l *listener) Accept() (net.Conn, error) {
	if g, ok := l.Listener.(*Gate); ok {
		return g.accept(l.admit)
	}
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.admit(c), nil
}

// epoch is the zero of the clock by which connections are timed.
var epoch = time.Now()

// now reads the monotonic clock only, at half the price of time.Now.
func (t *Tracker) now() time.Duration { return time.Since(epoch) }

func (t *Tracker) remove(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.conns[c]; !ok {
		return
	}
	delete(t.conns, c)
	if m := c.members.Load(); m != nil {
		m.part(c)
	}
	c.mu.Lock()
	t.begun += c.begun
	c.strike()
	c.mu.Unlock()
	if t.settled != nil && c.serial <= t.last {
		if t.left--; t.left == 0 {
			close(t.settled)
		}
	}
	if len(t.conns) == 0 && t.empty != nil {
		close(t.empty)
		t.empty = nil
	}
}

// Wait returns nil when no connection is left: all are closed and their handlers
// have returned. It closes none. If ctx ends first it returns ctx.Err().
func (t *Tracker) Wait(ctx context.Context) error {
	t.mu.Lock()
	if len(t.conns) == 0 {
		t.mu.Unlock()
		return nil
	}
	if t.empty == nil {
		t.empty = make(chan struct{})
	}
	empty := t.empty
	t.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mark makes settle wait for the connections that there are now. Only the first
// one counts.
func (t *Tracker) mark() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settled != nil {
		return
	}
	t.settled, t.last, t.left = make(chan struct{}), t.admitted, len(t.conns)
	if t.left == 0 {
		close(t.settled)
	}
}

// settle is Wait for those that there were when mark was called.
func (t *Tracker) settle(ctx context.Context) error {
	t.mu.Lock()
	settled := t.settled
	t.mu.Unlock()
	select {
	case <-settled: // nil, before mark, blocks
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// all returns the connections of this moment, and the number of requests that
// the earlier ones have had.
func (t *Tracker) all() (cs []*Conn, begun uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cs = make([]*Conn, 0, len(t.conns))
	for c := range t.conns {
		cs = append(cs, c)
	}
	return cs, t.begun
}
