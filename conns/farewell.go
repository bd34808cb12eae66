package conns

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

const (
	// ownWords is how long a handler that listens to Leaving has to say goodbye in
	// its own words, and to end.
	ownWords = time.Second
	// lingerWithin is how long a client that was told has to answer, and to close.
	lingerWithin = 5 * time.Second
	// eventWithin is how long an event stream has to be between two events.
	eventWithin = 2 * time.Second
	// lastWordsWithin is how long all those have who are told when they are cut.
	lastWordsWithin = 100 * time.Millisecond
)

// The codes of a Close frame that mean "come back": RFC 6455, section 7.4.1, and
// the registry of section 11.7.
const (
	closeGoingAway = 1001
	closeRestart   = 1012
)

// Why a connection that does not move is told, when nothing is wrong with it.
const (
	reasonNowhere = "there is no process to move to"
	reasonTooLate = "did not move in time"
)

// SetPace sets how fast those that do not move are told, from now on.
func (h *HTTP) SetPace(p Pace) {
	h.pacer.mu.Lock()
	defer h.pacer.mu.Unlock()
	h.pacer.pace = p
}

// Told counts the connections that were told goodbye because this server leaves, by
// the reason why they do not go on elsewhere: HTTP/2 by a GOAWAY, other HTTP by
// Connection: close, a WebSocket by a Close frame, an event stream by its end, and
// whatever else was hijacked by [Leaving].
func (h *HTTP) Told() map[string]int {
	h.pacer.mu.Lock()
	defer h.pacer.mu.Unlock()
	return maps.Clone(h.pacer.told)
}

// stay notes why a connection does not move, and has it told; the first reason
// counts.
func (c *Conn) stay(reason string) {
	if reason == "" || !c.stays.CompareAndSwap(nil, &reason) || c.http == nil {
		return
	}
	c.mu.Lock()
	hijacked := c.state == http.StateHijacked
	c.mu.Unlock()
	switch {
	case c.live.Load() != nil:
		c.http.pacer.enlist(turn{c: c, reason: reason})
	case hijacked || c.http2.Load():
		c.tellOnce(reason) // by tellLeaving or goAway
	}
}

// stayLive is for a connection that is live since the others were told.
func (c *Conn) stayLive(phase int32) {
	if phase > departing {
		c.stay(c.http.whyStay())
	}
	if why := c.stays.Load(); why != nil {
		c.http.pacer.enlist(turn{c: c, reason: *why})
	}
}

func (h *HTTP) whyStay() string {
	if h.successor.Load() {
		return reasonTooLate
	}
	return reasonNowhere
}

// tellOnce counts a connection that was told.
func (c *Conn) tellOnce(reason string) {
	if c.told.CompareAndSwap(false, true) {
		c.http.pacer.count(reason)
	}
}

// untold reports whether there is anybody to be told.
func (c *Conn) untold() bool {
	l := c.live.Load()
	return l != nil && !l.left.Load() && !c.closed() && !c.moved()
}

// takeTurn tells a connection goodbye. It does not wait for anything.
func (h *HTTP) takeTurn(t turn, rng *rand.Rand) {
	c, l := t.c, t.c.live.Load()
	if l == nil || t.limit && h.phase.Load() >= departing {
		return // whoever reaches a limit now is moved, or told, with all the others
	}
	words := h.goodbyeWords(l.kind, t, rng)
	c.gate.Lock()
	if t.limit && c.hold.Load() != nil {
		c.gate.Unlock() // it may be on its way to another process, which will see
		l.enlisted.Store(false)
		return
	}
	if l.left.Swap(true) {
		c.gate.Unlock()
		return
	}
	listens := l.leaving != nil
	l.farewell, l.parting = words, !listens // nothing comes after the message under way
	if listens {
		close(l.leaving)
	}
	c.gate.Unlock()
	if t.limit {
		h.lives.expired.Add(1)
	} else {
		c.tellOnce(t.reason)
	}
	switch {
	case l.kind == kindOther:
	case listens:
		time.AfterFunc(ownWords, func() { c.part(l) })
	default:
		go c.part(l)
	}
}

// goodbyeWords is what a client of each kind understands; nil of an unknown
// protocol.
func (h *HTTP) goodbyeWords(k kind, t turn, rng *rand.Rand) []byte {
	switch k {
	case kindWebSocket:
		code, text := uint16(closeGoingAway), "the server stops"
		switch {
		case t.limit:
			text = t.reason
		case h.succeeded():
			code, text = closeRestart, "the server restarts"
		}
		return appendFrame(nil, opClose, closePayload(code, text))
	case kindSSE:
		retry := time.Second + time.Duration(rng.Int64N(int64(2*time.Second)))
		event := "retry: " + strconv.FormatInt(retry.Milliseconds(), 10) + "\n\n"
		return append(eventChunk(nil, event), lastChunk...)
	}
	return nil
}

// succeeded reports whether another process serves who comes back.
func (h *HTTP) succeeded() bool {
	if h.successor.Load() {
		return true
	}
	select {
	case <-h.serving:
		return h.phase.Load() != refusing && h.gate.isShut()
	default:
		return false
	}
}

// part has the last words written as soon as the handler is between two
// messages, unless it has found its own.
func (c *Conn) part(l *live) {
	if c.live.Load() != l {
		return // its stream is over, which says it, too
	}
	c.gate.Lock()
	l.parting = true
	if e := &l.out.events; e.bad && e.head.eventStream && l.cancel != nil {
		l.cancel() // nothing can be put into it (it is compressed, for one); its handler has to end it
	}
	c.gate.Unlock()
	c.flushLive(l)
	switch l.kind {
	case kindWebSocket:
		time.AfterFunc(lingerWithin, func() { c.interrupt(l) })
	case kindSSE:
		time.AfterFunc(eventWithin, func() { c.endRequest(l) })
	}
}

// endRequest ends the request of an event stream in which no place was found for
// the last words, because its events never end where its writes do. Its handler
// has to return then.
func (c *Conn) endRequest(l *live) {
	c.gate.Lock()
	defer c.gate.Unlock()
	if l.farewell != nil && l.cancel != nil && c.live.Load() == l {
		l.cancel()
	}
}

// interrupt has the last words of a WebSocket written in the middle of a message
// that does not end, between two of its frames: RFC 6455, section 5.4.
func (c *Conn) interrupt(l *live) {
	c.gate.Lock()
	waits := l.farewell != nil
	l.urgent = true
	c.gate.Unlock()
	if waits {
		c.flushLive(l)
	}
}

// mayPart reports whether the last words may be written here.
func (l *live) mayPart() bool {
	return l.out.boundary() || l.urgent && l.out.frameEnd()
}

// sayFarewell writes the last words. It needs live.turn and Conn.gate.
func (c *Conn) sayFarewell(l *live) error {
	words := l.farewell
	l.farewell = nil
	if l.out.frames.closing {
		return nil // the handler has said it
	}
	l.saying = true
	err := c.interject(l, words)
	l.saying, l.said = false, true
	switch {
	case err != nil || c.deaf.Load():
	case l.kind == kindSSE:
		c.deaf.Store(true)
		go c.drain(l)
	default:
		l.linger = time.AfterFunc(lingerWithin, func() { c.sever() })
	}
	return err
}

// afterwards is Write when the last words were written, or nobody is to be heard
// any more.
func (l *live) afterwards(p []byte) (int, error) {
	if l.kind == kindWebSocket && p[0]&0xf == opClose {
		return len(p), nil // the answer to the client's answer
	}
	return 0, net.ErrClosed
}

// lingers is Close of a connection whose turn has come: closing a socket that has
// unread bytes makes the kernel reset the connection, and what was written last
// is lost with it. So the client closes first, or has had time to. It reports
// false when there is nothing to wait for. It needs Conn.gate.
func (c *Conn) lingers() bool {
	l := c.live.Load()
	switch {
	case c.deaf.Load():
		return true
	case l == nil || !l.left.Load() || l.kind == kindOther || l.broken != nil || l.heardClose.Load():
		return false
	case l.writing && !l.saying:
		return false // it is to be interrupted
	}
	c.deaf.Store(true)
	go c.drain(l)
	return true
}

// drain ends a connection after its last words, for which its handler may have
// left no time. Whoever calls it has made the connection deaf.
func (c *Conn) drain(l *live) {
	late := time.AfterFunc(lingerWithin, func() { c.sever() })
	defer late.Stop()
	l.turn.Lock()
	c.gate.Lock()
	l.parting = true
	c.flush(l)
	l.said, l.farewell = true, nil
	if l.linger != nil {
		l.linger.Stop()
	}
	if l.cancel != nil {
		l.cancel()
	}
	c.gate.Unlock()
	l.turn.Unlock()
	c.CloseWrite()
	c.deadline.forget()
	c.nudge()
	buf := make([]byte, 512)
	for {
		n, err := c.stream.Read(buf)
		switch {
		case n > 0:
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.settled() // it was ours: no other counts any more
		default:
			c.shut(c.stream)
			return
		}
	}
}

// finish is called between two requests: who ends a stream because its turn has
// come wants the client to come back elsewhere, and not with this connection.
func (c *Conn) finish(l *live) {
	if !l.left.Load() || l.kind != kindSSE || !l.out.events.head.eventStream {
		return
	}
	if !c.deaf.Swap(true) {
		go c.drain(l)
	}
}

// endable gives the handler of an event stream a context that ends with the
// stream.
func (c *Conn) endable(l *live, r *http.Request) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	c.gate.Lock()
	l.cancel = cancel
	c.gate.Unlock()
	return r.WithContext(ctx), cancel
}

// lastWords tells those who are being cut and did not have their turn. Whoever is
// being written to in this moment has to be waited for, and others must not wait
// for one that does not read: so each has a goroutine, and all the same time.
func (h *HTTP) lastWords() {
	until := time.Now().Add(lastWordsWithin)
	rng := rand.New(rand.NewPCG(rand.Uint64(), 0))
	cs, _ := h.tracker.all()
	over, left := make(chan struct{}, len(cs)), 0
	for _, c := range cs {
		l := c.live.Load()
		if l == nil || l.kind == kindOther || c.closed() {
			continue
		}
		left++
		words := h.goodbyeWords(l.kind, turn{c: c}, rng)
		go func() {
			c.lastWord(l, words, until)
			over <- struct{}{}
		}()
	}
	late := time.NewTimer(time.Until(until))
	defer late.Stop()
	for ; left > 0; left-- {
		select {
		case <-over:
		case <-late.C:
			return
		}
	}
}

// lastWord waits for a handler that writes, which fails when the connection is cut.
func (c *Conn) lastWord(l *live, words []byte, until time.Time) {
	l.turn.Lock()
	defer l.turn.Unlock()
	c.gate.Lock()
	defer c.gate.Unlock()
	l.urgent = true
	if c.hold.Load() != nil || l.said || l.out.frames.closing || !l.mayPart() {
		return
	}
	l.left.Store(true)
	l.said = true
	c.Conn.SetWriteDeadline(until)
	if _, err := c.writeOut(l, words); err == nil {
		c.tellOnce(c.http.whyStay())
	}
}
