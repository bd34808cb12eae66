package conns

import (
	"net"
	"sync/atomic"
	"time"
)

// hold is one attempt to take a connection out of this process. Its reader is
// parked where nothing is half done, and its writers keep what they write for
// later; the connection is quiet then, until the attempt is decided.
type hold struct {
	c       *Conn
	tell    func(*hold) // once, when the connection is quiet or closed; with Conn.gate held
	decided chan struct{}
	ended   chan struct{} // closed when the handler of an event stream has returned, once it was quiet
	outcome atomic.Uint32 // an outcome
	quietAt time.Time     // tell's
	newborn bool          // of an adopted connection: until it is decided nothing may be read

	// Guarded by Conn.gate.
	parked bool
	told   bool
	lastID string // of an event stream, when it became quiet: what is written late does not count
	sent   bool   // it may be served elsewhere by now
	ending bool   // its handler closed it after that
}

// outcome is how a hold was decided.
type outcome uint32

const (
	undecided outcome = iota
	thawed            // it goes on here
	moved             // it goes on elsewhere, and here nothing ever returns
	dropped           // it goes on elsewhere, and this process has nothing of it
)

func newHold(c *Conn, tell func(*hold)) *hold {
	return &hold{c: c, tell: tell, decided: make(chan struct{}), ended: make(chan struct{})}
}

// arm begins a hold. Nothing changes before the connection is quiet.
func (c *Conn) arm(h *hold) {
	c.gate.Lock()
	c.hold.Store(h)
	c.gate.Unlock()
	c.nudge()
}

// park holds the reader.
func (c *Conn) park(h *hold) error {
	c.gate.Lock()
	h.parked = true
	c.settle(h)
	c.gate.Unlock()
	<-h.decided
	switch outcome(h.outcome.Load()) {
	case moved:
		if l := c.live.Load(); l == nil || l.hijacked {
			forever()
		}
		<-h.ended // of its own accord: its reader is all that it waits for
		return net.ErrClosed
	case dropped:
		return net.ErrClosed
	}
	return nil
}

// forever is where the handlers of a connection that has moved remain until the
// process ends: none of their deferred calls may run, since for them nothing has
// ended.
func forever() { select {} }

// handled is called when the handler of a request has returned.
func (c *Conn) handled() {
	c.gate.Lock()
	defer c.gate.Unlock()
	h, l := c.hold.Load(), c.live.Load()
	if h != nil && h.told && l != nil && !l.hijacked {
		close(h.ended)
	}
}

// settle looks whether the connection has become quiet. It needs Conn.gate.
func (c *Conn) settle(h *hold) {
	if !h.parked || h.told {
		return
	}
	if l := c.live.Load(); l != nil {
		if !l.quiet() {
			return
		}
		h.lastID = string(l.out.events.lastID)
	}
	h.told = true
	h.tell(h)
}

func (l *live) quiet() bool {
	if l.writing || l.broken != nil || l.left.Load() || l.pending() || l.out.frames.closing {
		return false
	}
	return l.out.boundary()
}

// goesOn reports whether what the connection has yet to finish to be quiet has
// gone on since the last call: a message that comes, or, when the reader is parked,
// one that is written. A busy machine and a long message take their time.
func (h *hold) goesOn() bool {
	c := h.c
	c.gate.Lock()
	defer c.gate.Unlock()
	read, wrote := c.advanced.Swap(false), false
	if l := c.live.Load(); l != nil {
		wrote, l.wrote = l.wrote, false
	}
	if h.parked {
		return wrote
	}
	return read
}

// close withdraws the connection because its handler has closed it. It reports
// whether it may be closed: not while it may be served elsewhere. It needs
// Conn.gate.
func (h *hold) close() bool {
	switch outcome(h.outcome.Load()) {
	case moved:
		return false
	case undecided:
		if h.sent {
			h.ending = true
			return false
		}
		if h.newborn {
			h.decide(dropped)
			break
		}
		h.c.hold.CompareAndSwap(h, nil)
		h.c.settled()
		h.decide(thawed) // for what was written late
		if !h.told {
			h.told = true
			h.tell(h)
		}
	}
	return true
}

// decide needs Conn.gate.
func (h *hold) decide(o outcome) {
	if outcome(h.outcome.Load()) != undecided {
		return
	}
	h.outcome.Store(uint32(o))
	close(h.decided)
	if l := h.c.live.Load(); l != nil {
		l.room.Broadcast()
	}
}

// thaw has the connection go on here as if nothing had happened.
func (h *hold) thaw() {
	c := h.c
	c.gate.Lock()
	if outcome(h.outcome.Load()) != undecided {
		c.gate.Unlock()
		return
	}
	ending, l := h.ending, c.live.Load()
	c.hold.CompareAndSwap(h, nil)
	if h.newborn {
		c.putOff(h.quietAt)
	}
	c.settled()
	h.decide(thawed)
	if h.sent {
		c.copied.Store(true)
	}
	waiting := l != nil && l.pending()
	var again func()
	if l != nil && h.told && !h.newborn {
		again = l.again
	}
	c.gate.Unlock()
	if again != nil {
		go again()
	}
	switch {
	case ending:
		c.Close()
	case waiting:
		go c.flushLive(l)
	}
}

// drop has the connection end here without a trace: somebody else serves it.
func (h *hold) drop() {
	c := h.c
	c.gate.Lock()
	undone := outcome(h.outcome.Load()) == undecided
	h.decide(dropped)
	c.gate.Unlock()
	if undone {
		c.release()
	}
}

// leave has the connection go on elsewhere. forward is given what is written
// here from now on, in whole messages.
func (h *hold) leave(forward func(data []byte, end bool)) {
	c := h.c
	c.gate.Lock()
	if l := c.live.Load(); l != nil {
		c.http.lives.out.Add(1)
		l.forward = forward
		l.sendLate()
		if h.ending && l.hijacked {
			forward(nil, true)
		}
	}
	h.decide(moved)
	c.gate.Unlock()
	go c.release() // closing takes as long as all the rest, and the others wait
}

// moved reports whether the connection is served elsewhere.
func (c *Conn) moved() bool {
	h := c.hold.Load()
	return h != nil && outcome(h.outcome.Load()) == moved
}

// release closes this process's descriptor and nothing else: no shutdown(2), no
// close_notify.
func (c *Conn) release() {
	c.mu.Lock()
	if c.journal != nil {
		c.forget()
	}
	c.mu.Unlock()
	c.Conn.Close()
	c.tracker.remove(c)
}
