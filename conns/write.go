package conns

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// Write writes to the connection. What is written while the connection is on
// its way to another process is written there, or here if it stays, in order
// and at the end of a message; Write does not wait for that.
func (c *Conn) Write(p []byte) (int, error) {
	l := c.live.Load()
	if l == nil {
		return c.stream.Write(p)
	}
	l.turn.Lock()
	defer l.turn.Unlock()
	c.gate.Lock()
	defer c.gate.Unlock()
	done := 0
	for done < len(p) {
		n, err := c.writeSome(l, p[done:])
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, c.flush(l)
}

// writeSome needs live.turn and Conn.gate, which it lets go while it waits.
func (c *Conn) writeSome(l *live, p []byte) (int, error) {
	if err := c.flush(l); err != nil {
		return 0, err
	}
	if l.said || c.deaf.Load() {
		return l.afterwards(p)
	}
	if l.replay.swallows() {
		return c.swallow(l, p), nil
	}
	h := c.hold.Load()
	if h == nil {
		n := len(p)
		if l.pending() {
			n = l.out.next(p) // so that others can have their say behind it
		} else {
			l.out.follow(p)
		}
		if l.kind != kindWebSocket || !l.out.frames.control() {
			l.stir()
		}
		return c.writeOut(l, p[:n])
	}
	if !h.told { // not quiet yet: up to where it may become so
		n, err := c.writeOut(l, p[:l.out.next(p)])
		c.settle(h)
		return n, err
	}
	switch outcome(h.outcome.Load()) {
	case thawed:
		return 0, nil
	case dropped:
		return 0, net.ErrClosed
	case moved:
		return c.writeAway(l, p), nil
	}
	if len(l.late) >= lateMost {
		l.room.Wait()
		return 0, nil
	}
	return l.keep(p), nil
}

// writeOut writes to the client, frames as a whole unless they are long. It lets
// Conn.gate go meanwhile.
func (c *Conn) writeOut(l *live, p []byte) (int, error) {
	if l.broken != nil && !errors.Is(l.broken, os.ErrDeadlineExceeded) {
		return 0, l.broken
	}
	if l.out.gathers(len(p)) {
		l.begun.add(p)
		return len(p), nil
	}
	out := p
	if begun := l.begun.bytes(); len(begun) > 0 {
		l.begun.add(p)
		out = l.begun.bytes()
		defer l.begun.free()
	}
	l.writing = true
	c.gate.Unlock()
	n, err := c.stream.Write(out)
	c.gate.Lock()
	l.writing = false
	if err != nil {
		l.broken = err
	} else {
		l.wrote = true
	}
	return max(0, n-len(out)+len(p)), err
}

// keep puts p behind what was written late. What begins with a Close frame is not
// for the other process: it is said by one that ends, and must not end what it does
// not have.
func (l *live) keep(p []byte) int {
	n := l.out.next(p)
	l.late = append(l.late, p[:n]...)
	if l.out.boundary() && !l.out.frames.closing {
		l.whole = len(l.late)
	}
	return n
}

// writeAway forwards what a handler writes that does not know yet that its
// connection has moved. An event stream is continued from its last id by the new
// handler, so the old one has nothing to add; it is not stopped, since whoever has
// events for it may have some for others too, and must not wait for it.
func (c *Conn) writeAway(l *live, p []byte) int {
	if l.kind == kindSSE {
		return len(p)
	}
	n := l.keep(p)
	l.sendLate()
	return n
}

// takeLate takes the whole messages of what was written since the connection
// became quiet.
func (h *hold) takeLate() []byte {
	c := h.c
	c.gate.Lock()
	defer c.gate.Unlock()
	l := c.live.Load()
	if l == nil || l.whole == 0 || l.kind == kindSSE {
		return nil
	}
	late := l.late[:l.whole:l.whole]
	l.late, l.whole = append([]byte(nil), l.late[l.whole:]...), 0
	l.room.Broadcast()
	return late
}

// sendLate forwards the whole messages of late, and what a third process had to
// say.
func (l *live) sendLate() {
	rest := l.late[l.whole:]
	if l.kind != kindSSE {
		if l.whole > 0 {
			l.forward(l.late[:l.whole:l.whole], false)
		}
		if len(l.inbox) > 0 {
			l.forward(l.inbox, false)
		}
	}
	if l.out.frames.closing {
		rest = nil // see keep
	}
	l.late, l.whole, l.inbox = append([]byte(nil), rest...), 0, nil
}

// flush writes what others than the handler had to say, and what was kept, if
// this is the moment. It needs live.turn and Conn.gate.
func (c *Conn) flush(l *live) error {
	for l.pending() && !l.said {
		if h := c.hold.Load(); h != nil && h.told || l.replay.swallows() {
			if c.moved() {
				l.sendLate()
			}
			return nil
		}
		var words []byte
		switch {
		case len(l.ping) > 0 && (len(l.late) > 0 || l.out.frameEnd()):
			words, l.ping = l.ping, nil
		case len(l.inbox) > 0 && l.boundaryBehindLate():
			words, l.inbox = l.inbox, nil
		case len(l.late) > 0:
			words, l.late, l.whole = l.late, nil, 0
			l.out.ended = true // there may be more in it than the frame under way
			l.room.Broadcast()
		case l.parting && l.farewell != nil && l.mayPart():
			if err := c.sayFarewell(l); err != nil {
				return err
			}
			continue
		default:
			return nil // inside a message: when it ends
		}
		if err := c.interject(l, words); err != nil {
			return err
		}
	}
	if h := c.hold.Load(); h != nil {
		c.settle(h)
	}
	return nil
}

// pending reports whether anything is to be written besides what the handler
// writes.
func (l *live) pending() bool {
	return len(l.inbox)+len(l.late)+len(l.ping) > 0 || l.parting && l.farewell != nil
}

// interject writes what the handler does not write now, and for which a deadline
// that it has set for an earlier write does not count.
func (c *Conn) interject(l *live, words []byte) error {
	d := &c.deadline
	d.mu.Lock()
	asked := d.askedWrite
	expired := !asked.IsZero() && !time.Now().Before(asked)
	if expired {
		c.Conn.SetWriteDeadline(time.Time{})
	}
	d.mu.Unlock()
	_, err := c.writeOut(l, words)
	d.mu.Lock()
	defer d.mu.Unlock()
	if expired && d.askedWrite.Equal(asked) {
		c.Conn.SetWriteDeadline(asked)
	}
	return err
}

// boundaryBehindLate reports whether the client is between two messages.
// What is in late begins a message, so it is if there is any.
func (l *live) boundaryBehindLate() bool { return len(l.late) > 0 || l.out.boundary() }

// flushLive is flush for whoever is not writing.
func (c *Conn) flushLive(l *live) {
	l.turn.Lock()
	defer l.turn.Unlock()
	c.gate.Lock()
	defer c.gate.Unlock()
	c.flush(l)
}

// say has whole messages written as soon as the handler is between two of its
// own. It does not wait for that.
func (c *Conn) say(l *live, messages []byte) {
	c.gate.Lock()
	waiting := len(l.inbox) > 0 // and somebody for it
	l.inbox = append(l.inbox, messages...)
	c.gate.Unlock()
	if !waiting {
		go c.flushLive(l)
	}
}

// owes reports whether there is something that was taken for written and is not.
// It needs Conn.gate.
func (l *live) owes() bool {
	return len(l.inbox)+len(l.late) > 0 && !l.writing && l.broken == nil && !l.replay.swallows()
}

// pay closes the connection when that has been written.
func (c *Conn) pay(l *live, stream io.Closer) {
	go func() {
		late := time.AfterFunc(lingerWithin, func() { c.sever() })
		defer late.Stop()
		c.flushLive(l)
		c.shut(stream)
	}()
}

// ReadFrom keeps sendfile(2) and splice(2): net/http uses them only if the
// connection offers ReadFrom.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if rf, ok := c.stream.(io.ReaderFrom); ok && c.live.Load() == nil {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c}, r) // only Write: io.Copy would come back here
}
