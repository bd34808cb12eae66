package conns

import (
	"time"
)

// The watch looks at live connections every quarter of the shortest limit, between
// these.
const (
	leastWatch = 5 * time.Millisecond
	mostWatch  = time.Second
)

// beat is what the watch knows of a connection.
type beat struct {
	begun   bool
	heard   time.Duration // when the last byte had come, on the tracker's clock
	stirred time.Duration // when the last message had gone either way
	missed  int           // pings since heard
}

// watch has the live connections looked at as long as there are any.
func (h *HTTP) watch() {
	every := h.limits.every()
	if every == 0 {
		return
	}
	h.lives.mu.Lock()
	defer h.lives.mu.Unlock()
	if !h.lives.watching {
		h.lives.watching = true
		go h.keepWatch(every)
	}
}

// every is how often they are looked at; 0 is never.
func (l Limits) every() time.Duration {
	var least time.Duration
	for _, d := range []time.Duration{l.Heartbeat, l.Idle, l.Total} {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
	}
	if least == 0 {
		return 0
	}
	return min(max(least/4, leastWatch), mostWatch)
}

func (h *HTTP) keepWatch(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-h.ended:
			return
		case <-tick.C:
		}
		cs, _ := h.tracker.all()
		now := h.tracker.now()
		for _, c := range cs {
			if l := c.live.Load(); l != nil {
				c.examine(l, now)
			}
		}
		if h.unwatched() {
			return
		}
	}
}

// unwatched ends the watch when there is nobody left to look at.
func (h *HTTP) unwatched() bool {
	h.lives.mu.Lock()
	defer h.lives.mu.Unlock()
	h.lives.watching = h.lives.open.Load() > 0
	return !h.lives.watching
}

// examine holds a connection to its limits.
func (c *Conn) examine(l *live, now time.Duration) {
	heard, stirred := c.pulse.Swap(false), l.stirred.Swap(false)
	b, limits := &l.beat, c.http.limits
	if !b.begun {
		b.begun, heard, stirred = true, true, true
	}
	if heard {
		b.heard, b.missed = now, 0
	}
	if stirred {
		b.stirred = now
	}
	if l.left.Load() || l.enlisted.Load() || !l.established(c) {
		return
	}
	switch {
	case limits.Total > 0 && time.Since(l.born) >= limits.Total:
		l.enlisted.Store(true)
		c.http.pacer.enlist(turn{c: c, reason: reasonTotal, limit: true})
	case limits.Idle > 0 && now-b.stirred >= limits.Idle:
		l.enlisted.Store(true)
		c.http.pacer.enlist(turn{c: c, reason: reasonIdle, limit: true})
	case limits.Heartbeat > 0:
		c.heartbeat(l, now)
	}
}

// established reports whether there is a stream, and not only the request for one,
// and whether it is here: nobody is to be disturbed on the way to another process.
func (l *live) established(c *Conn) bool {
	c.gate.Lock()
	defer c.gate.Unlock()
	if c.hold.Load() != nil || l.replay.swallows() {
		return false
	}
	if l.kind == kindSSE {
		e := &l.out.events
		return e.headDone && !e.bad && !e.done
	}
	return l.hijacked
}

// heartbeat sends a ping, or a comment, when it is time, and closes the connection
// of a client that has not answered.
func (c *Conn) heartbeat(l *live, now time.Duration) {
	b, limits := &l.beat, c.http.limits
	every, misses := limits.Heartbeat, limits.Misses
	if misses <= 0 {
		misses = DefaultMisses
	}
	switch l.kind {
	case kindSSE:
		if now-max(b.stirred, b.heard) >= every {
			b.heard = now
			c.gate.Lock()
			l.inbox = append(l.inbox[:0:0], eventChunk(nil, ":\n\n")...)
			c.gate.Unlock()
			go c.comment(l)
		}
	case kindWebSocket:
		if now-b.heard < every*time.Duration(b.missed+1) {
			return
		}
		if b.missed == misses {
			c.http.lives.dead.Add(1)
			c.sever()
			return
		}
		b.missed++
		c.gate.Lock()
		l.ping = appendFrame(l.ping[:0:0], opPing, nil)
		c.gate.Unlock()
		go c.flushLive(l)
	}
}

// comment writes what keeps an event stream open. Nothing but a failure of that
// says that its client is not there any more.
func (c *Conn) comment(l *live) {
	c.flushLive(l)
	c.gate.Lock()
	broken := l.broken != nil
	c.gate.Unlock()
	if broken {
		c.sever()
	}
}
