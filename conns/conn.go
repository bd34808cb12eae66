package conns

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is an accepted connection that is counted until it is closed and its
// handlers have returned, or until another process serves it. It owns the socket.
// It is what net/http reads and writes, and over TLS what reads and writes tls.
type Conn struct {
	net.Conn          // the socket
	stream   net.Conn // what handlers read and write: the socket, or TLS over it
	http     *HTTP    // nil under a Tracker that is used by itself
	tracker  *Tracker
	serial   uint64          // in the order of admission, from 1
	leaving  <-chan struct{} // see Leaving
	secure   bool            // under TLS: the first bytes are a handshake

	// heard: a byte was read since the connection was accepted, or became idle.
	// The hot path of Read is one load.
	heard atomic.Bool
	http2 atomic.Bool // kind is kindHTTP2, for those who have no time for mu

	in       inbound
	deadline deadline
	gate     sync.Mutex // of a hold, and of live; taken before mu
	hold     atomic.Pointer[hold]
	copied   atomic.Bool // another process may have a descriptor that it will not use
	live     atomic.Pointer[live]
	members  atomic.Pointer[Members]
	stays    atomic.Pointer[string] // why it cannot move; nil if it can
	told     atomic.Bool            // it was told goodbye, and counted
	deaf     atomic.Bool            // drain has it: nobody else reads or closes it
	pulse    atomic.Bool            // a byte was read since the watch has looked
	advanced atomic.Bool            // and since a departure has
	counted  bool                   // in HTTP.lives

	adopted bool // it came from another process

	mu      sync.Mutex
	state   http.ConnState
	kind    kind
	since   time.Duration // when state began, on the tracker's clock; see unseen
	running int           // handlers that have not returned
	begun   uint64        // requests
	request request       // HTTP/1: one at a time
	streams *request      // HTTP/2: those whose handler has not returned
	journal Journal       // nil when nothing is recorded
	slot    int           // in journal
}

// request is what is remembered of a request while it is in flight.
type request struct {
	method, path string
	kind         kind
	since        time.Duration
	prev, next   *request // in Conn.streams
	slot         int      // of a stream, in Conn.journal
}

var streamPool = sync.Pool{New: func() any { return new(request) }}

// NetConn returns the connection beneath, for options that Conn does not offer.
// It must not be read, written or closed.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// SyscallConn gives access to the descriptor if the connection has one.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// CloseWrite shuts down the writing side if the connection can.
func (c *Conn) CloseWrite() error {
	c.gate.Lock()
	h := c.hold.Load()
	shared := h != nil && (h.newborn || h.sent) // shutdown(2) is about the socket, whoever else has it
	c.gate.Unlock()
	if cw, ok := c.stream.(interface{ CloseWrite() error }); ok && !shared {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close closes the connection. One that is served by another process remains
// open; one whose client was told goodbye does for the five seconds that the client
// has to answer.
func (c *Conn) Close() error {
	c.mu.Lock()
	stream := c.stream
	c.mu.Unlock()
	return c.closeAs(stream, true)
}

// hangUp has the client read the end of the connection although another process
// has a descriptor of it, which it will close some time.
func hangUp(stream any) {
	if cw, ok := stream.(interface{ CloseWrite() error }); ok {
		cw.CloseWrite()
	}
}

// sever closes the socket at once, and says nothing to the client.
func (c *Conn) sever() error { return c.closeAs(c.Conn, false) }

func (c *Conn) closeAs(stream io.Closer, politely bool) error {
	c.gate.Lock()
	c.unanswered()
	h := c.hold.Load()
	if h != nil && !h.close() {
		c.gate.Unlock()
		return nil
	}
	if politely && h == nil && c.lingers() {
		c.gate.Unlock()
		return nil
	}
	newborn := h != nil && h.newborn
	if l := c.live.Load(); politely && !newborn && l != nil && l.owes() {
		c.gate.Unlock()
		c.pay(l, stream)
		return nil
	}
	c.gate.Unlock()
	if newborn {
		stream = c.Conn // its client is another process's: no close_notify
	}
	return c.shut(stream)
}

func (c *Conn) shut(stream io.Closer) error {
	c.mu.Lock()
	if c.journal != nil {
		c.forget() // before its client can know: what was answered in full must not be named
	}
	c.mu.Unlock()
	if c.copied.Load() {
		hangUp(stream)
		hangUp(c.Conn)
	}
	err := stream.Close()
	c.mu.Lock()
	if c.state != http.StateClosed {
		c.state, c.since = http.StateClosed, c.tracker.now()
	}
	gone := c.running == 0
	c.mu.Unlock()
	if gone {
		c.tracker.remove(c)
	}
	return err
}

// enter follows net/http's ConnState and returns the state before. On HTTP/1 it
// leaves StateActive to begin, which is called next: the path of a request is
// worth the trouble.
func (c *Conn) enter(s http.ConnState) (before http.ConnState) {
	if s == http.StateActive && !c.http2.Load() {
		return http.StateActive
	}
	if s == http.StateNew && c.adopted {
		return http.StateNew // it was new elsewhere
	}
	now := unseen
	switch s {
	case http.StateIdle:
		c.in.idle()
		if l := c.live.Load(); l != nil {
			c.flushLive(l) // the next answer comes behind what was kept of this one
			c.live.Store(nil)
			c.finish(l)
		}
	case http.StateHijacked:
		c.hijack()
		fallthrough
	default:
		now = c.tracker.now()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before = c.state
	if before == http.StateClosed || s == http.StateClosed {
		return before // Close is the last word, and more exact
	}
	switch {
	case s == http.StateIdle:
		c.heard.Store(false)
		c.strike()
		c.request.method, c.request.path = "", "" // they keep the whole request line in memory
	case s == http.StateHijacked && c.request.kind == kindHTTP1:
		c.request.kind = kindOther // whatever it speaks now, HTTP it is not
	}
	c.state, c.since = s, now
	if c.journal != nil {
		c.age(c.tracker.now())
		c.noteState()
	}
	return before
}

// unseen is the time of a connection that became idle and that nobody has looked
// at since. Every request ends in that state and hardly one is looked at in it:
// the clock is read by those who look.
const unseen time.Duration = -1

// age is for how long the state has lasted; of an idle connection, for how long
// it has been seen to. It needs c.mu.
func (c *Conn) age(now time.Duration) time.Duration {
	if c.since == unseen {
		c.since = now
	}
	return now - c.since
}

// hijack is called between the last read and write of net/http and the first of
// the hijacker.
func (c *Conn) hijack() {
	l := c.live.Load()
	if l == nil {
		c.in.mode = modePass
		return
	}
	c.gate.Lock()
	defer c.gate.Unlock()
	l.hijacked, l.req = true, nil
	c.in.mode = modeMessages
	if l.kind != kindWebSocket && l.in == nil {
		c.in.mode = modePass
	}
}

// speaksHTTP2 is called before the first frame, and before net/http's HTTP/2
// reports any state.
func (c *Conn) speaksHTTP2() {
	c.http2.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kind = kindHTTP2
}

// begin is called when a handler takes a request, end when it returns. On
// HTTP/1 the request is in flight until its connection is idle again: by then
// the response has been written.
func (c *Conn) begin(r *http.Request) *request {
	stream := r.ProtoMajor >= 2
	q := &c.request
	if stream {
		q = streamPool.Get().(*request)
		if !c.http2.Load() {
			c.speaksHTTP2() // through a TLSNextProto that is the user's own
		}
	}
	k, now := kindOf(r), c.tracker.now()
	l := newLive(c, r, k)
	if l != nil {
		if arrived := c.live.Load(); arrived != nil {
			l.replay, l.born = arrived.replay, arrived.replay.born
		}
		c.live.Store(l)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l != nil {
		c.enroll(l)
	}
	q.method, q.path, q.kind, q.since = r.Method, r.URL.Path, k, now
	c.running++
	c.begun++
	if stream {
		q.next = c.streams
		if q.next != nil {
			q.next.prev = q
		}
		c.streams = q
		if c.journal != nil {
			q.slot = c.journal.Stream(c.slot)
			c.noteRequest(q.slot, q)
		}
	} else if c.state != http.StateClosed {
		c.state, c.since = http.StateActive, now
		if c.journal != nil {
			c.noteRequest(c.slot, q)
		}
	}
	return q
}

func (c *Conn) end(q *request) {
	if c.live.Load() != nil {
		c.handled()
	}
	c.mu.Lock()
	c.running--
	gone := c.running == 0 && c.state == http.StateClosed
	if q != &c.request {
		if q.prev == nil {
			c.streams = q.next
		} else {
			q.prev.next = q.next
		}
		if q.next != nil {
			q.next.prev = q.prev
		}
		if c.journal != nil {
			c.journal.Close(q.slot)
		}
		*q = request{}
		streamPool.Put(q)
	}
	c.mu.Unlock()
	if gone {
		c.tracker.remove(c)
	}
}
