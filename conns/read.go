package conns

import (
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// inbound is the reading side. It belongs to the one who reads, and while that
// one is parked to the one who parked it.
type inbound struct {
	mode    mode
	busy    bool // a request was handed up whole and not answered yet
	over    bool // part would have become too long
	held    kept // read, and not handed up
	later   int  // so much at the end of held is not handed up to a replay before it may serve
	part    kept // handed up, of a request head or message that is not complete
	frame   int  // so much of part is whole frames
	request requestScanner
	frames  frameScanner
}

// mode is how the end of what may be handed up is found.
type mode uint8

const (
	modePass     mode = iota // it is not: everything is handed up, and stays
	modeRequests             // HTTP/1
	modeUpgrade              // behind a request for an upgrade, until it is answered
	modeMessages             // hijacked
)

// partMost bounds what is kept of an incomplete request head or message; one
// that is longer moves when it is complete.
const partMost = 256 << 10

// Read reads from the connection. It hands up nothing of a request or a frame
// behind the one under way: what was not handed up can be given to another
// process.
func (c *Conn) Read(p []byte) (int, error) {
	in := &c.in
	for len(p) > 0 {
		if c.deaf.Load() {
			return 0, net.ErrClosed
		}
		if h := c.hold.Load(); h != nil && (c.mayPark() || h.newborn && in.mode != modeUpgrade && len(in.held.bytes()) <= in.later) {
			if err := c.park(h); err != nil {
				return 0, err
			}
			continue
		}
		if in.mode == modeUpgrade {
			if err := c.interrupted(c.awaitUpgrade()); err != nil {
				return 0, err
			}
			continue
		}
		if held := in.held.bytes(); len(held) > 0 {
			n := in.scan(c, held[:min(len(held), len(p))])
			copy(p, held[:n])
			in.held.skip(n)
			c.hear()
			return n, nil
		}
		n, err := c.stream.Read(p)
		if n == 0 {
			if err = c.interrupted(err); err != nil {
				return 0, err
			}
			continue
		}
		c.hear()
		k := in.scan(c, p[:n])
		if k < n {
			in.held.add(p[k:n])
			err = nil
		}
		return k, err
	}
	return 0, nil
}

// hear notes that a byte was read since the connection was accepted, or became
// idle.
func (c *Conn) hear() {
	if !c.pulse.Load() {
		c.pulse.Store(true)
	}
	if !c.advanced.Load() {
		c.advanced.Store(true)
	}
	if !c.heard.Load() {
		c.heard.Store(true)
		if c.adopted {
			c.awaken()
		}
	}
}

// scan returns how many bytes of b may be handed up, and remembers them as long
// as they are part of something incomplete.
func (in *inbound) scan(c *Conn, b []byte) int {
	switch in.mode {
	case modeRequests:
		n := in.request.next(b)
		switch in.request.state {
		case scanHead:
			in.keep(b[:n])
		case scanStart, scanBody:
			if in.request.empty {
				return n // lines before a request
			}
			in.busy = true
			in.forget()
			if in.request.upgrade && in.request.state == scanStart {
				in.mode = modeUpgrade
			}
		case scanPassing:
			in.mode = modePass
			in.forget()
			c.stay(reasonNotHTTP)
		}
		return n
	case modeMessages:
		return in.scanMessage(c, b)
	}
	return len(b)
}

func (in *inbound) scanMessage(c *Conn, b []byte) int {
	if f := c.live.Load().in; f != nil {
		n, end := f.Next(b)
		n = min(max(n, 1), len(b))
		c.live.Load().stir()
		if end {
			in.forget()
		} else {
			in.keep(b[:n])
		}
		return n
	}
	n := in.frames.next(b)
	if in.frames.closing && in.frames.frameEnd() {
		c.live.Load().heardClose.Store(true)
	}
	if !in.frames.control() {
		c.live.Load().stir()
	}
	switch {
	case in.frames.messageEnd() && !in.frames.control():
		in.forget()
	case in.frames.frameEnd() && in.frames.control():
		if !in.over {
			in.part.cut(in.frame) // it was dealt with; the message around it was not
		}
	default:
		in.keep(b[:n])
	}
	if in.frames.closing || in.frames.bad {
		c.live.Load().ending.Store(true)
	}
	if in.frames.frameEnd() {
		in.frame = len(in.part.bytes())
	}
	return n
}

func (in *inbound) keep(b []byte) {
	if in.over || len(in.part.bytes())+len(b) > partMost {
		in.part.free()
		in.frame, in.over = 0, true
		return
	}
	in.part.add(b)
}

func (in *inbound) forget() {
	in.part.free()
	in.frame, in.over = 0, false
}

// idle is called between two requests, by the one who reads.
func (in *inbound) idle() {
	in.busy = false
	if in.mode == modeUpgrade {
		in.mode = modeRequests // it was answered otherwise
	}
}

// mayPark reports whether everything that was handed up has been dealt with or
// is kept in part, so that another process can take over here. It is the
// reader's.
func (c *Conn) mayPark() bool {
	in := &c.in
	l := c.live.Load()
	switch {
	case in.over:
		return false
	case in.mode == modeRequests && !in.busy:
		return true
	case l == nil:
		return false
	}
	c.gate.Lock()
	defer c.gate.Unlock()
	switch in.mode {
	case modeRequests: // behind the request of a stream
		return in.request.state != scanBody && l.movableStream()
	case modeMessages:
		return l.movableMessages() && !in.frames.closing && !in.frames.bad
	}
	return false
}

// movableStream and movableMessages need Conn.gate.
func (l *live) movableStream() bool {
	e := &l.out.events
	return l.kind == kindSSE && !l.left.Load() && (e.hasID || l.declared) && !e.bad && !e.done && !l.body
}

func (l *live) movableMessages() bool {
	return l.hijacked && l.declared && !l.body && !l.left.Load() && (l.kind == kindWebSocket || l.in != nil && l.out.framer != nil) &&
		!l.out.frames.closing && !l.out.frames.bad && !l.out.answer.compressesWithContext()
}

// awaitUpgrade returns when the read deadline is over, or the connection at its
// end. What comes meanwhile remains below: who upgrades wants no bytes that came
// before the upgrade.
func (c *Conn) awaitUpgrade() error {
	err := c.peekEnd()
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	b := make([]byte, 512)
	n, err := c.stream.Read(b)
	c.in.held.add(b[:n])
	return err
}

// deadline is the read deadline that was asked for, which the socket has unless
// the reader was nudged.
type deadline struct {
	mu     sync.Mutex
	asked  time.Time
	nudged bool
	doubt  bool // the next timeout may come from a nudge that is over

	askedWrite time.Time // the deadline of Write

	// Of an adopted connection before its first byte: it is idle, and net/http
	// takes it for a new one, which has to send a request soon.
	waiting bool
	idle    time.Time     // its deadline; zero is never
	span    time.Duration // for the request head, from its first byte; 0 is for ever
	since   time.Time     // when net/http took it for new
	shift   time.Duration // what it was idle for meanwhile; 0 when that has been made up for
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error {
	d := &c.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.deaf.Load() {
		return nil
	}
	d.asked = d.postponed(t)
	if d.nudged || c.moved() {
		return nil
	}
	return c.Conn.SetReadDeadline(d.asked)
}

// postponed is a deadline of net/http's for the first request of an adopted
// connection, which has all its time from its first byte on: that for the head,
// and then that for the whole. It needs deadline.mu.
func (d *deadline) postponed(t time.Time) time.Time {
	switch {
	case d.waiting && t.IsZero():
		return d.idle
	case d.waiting && t.After(time.Now()):
		d.span = time.Until(t)
		return d.idle
	case d.shift > 0 && !t.IsZero():
		t = t.Add(d.shift)
	}
	d.shift = 0
	return t
}

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.moved() {
		return nil
	}
	d := &c.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	d.askedWrite = t
	return c.Conn.SetWriteDeadline(t)
}

// awaken ends the idleness of an adopted connection with its first byte.
func (c *Conn) awaken() {
	d := &c.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.waiting {
		return
	}
	now := time.Now()
	d.waiting, d.shift, d.asked = false, now.Sub(d.since), time.Time{}
	if d.span > 0 {
		d.asked = now.Add(d.span)
	}
	if !d.nudged {
		c.Conn.SetReadDeadline(d.asked)
	}
}

// forget is for who reads instead of the one who asked.
func (d *deadline) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = time.Time{}
}

// putOff gives the deadline the time back in which the connection was held from its
// birth on: a handler does not expect to be kept from reading.
func (c *Conn) putOff(since time.Time) {
	d := &c.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.waiting && d.asked.After(since) {
		d.asked = d.asked.Add(time.Since(since))
		if !d.nudged {
			c.Conn.SetReadDeadline(d.asked)
		}
	}
}

// nudge wakes a reader that is blocked.
func (c *Conn) nudge() {
	d := &c.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.nudged {
		d.nudged, d.doubt = true, true
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// settled gives the socket the deadline back that was asked for.
func (c *Conn) settled() {
	d := &c.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nudged {
		d.nudged = false
		c.Conn.SetReadDeadline(d.asked)
	}
}

// interrupted returns nil for the end of a read that was our doing. The hold may
// be over by the time the reader comes here.
func (c *Conn) interrupted(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	c.settled()
	d := &c.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.doubt || !d.asked.IsZero() && !time.Now().Before(d.asked) {
		return err
	}
	d.doubt = d.nudged
	return nil
}

var _ net.Conn = (*Conn)(nil)
var _ http.Handler = (*handler)(nil)
