package conns

import (
	"context"
	"net/http"
	"strings"
)

// Movable says that this connection may go on in another process: what it means
// is in its request and in what [Save] keeps. Without it a WebSocket, or anything
// else that was hijacked, stays in its process and is told to come back. Idle
// keep-alive connections, and event streams that have sent ids, need no
// declaration.
//
// In the new process the request is served once more, by the same route and the
// same middleware, and its answer is not sent, since the client has had it. What
// must not be done twice for one client has to ask [Resumed].
//
// ctx is the request's. Movable should be called before the upgrade: a
// compression that keeps a context from message to message cannot be rebuilt, and
// is then negotiated without one (RFC 7692, section 7.1.1). Outside an HTTP it
// does nothing. It may be called from any goroutine, more than once.
func Movable(ctx context.Context) {
	c, l := liveOf(ctx)
	if l == nil {
		return
	}
	c.gate.Lock()
	defer c.gate.Unlock()
	l.declared = true
	if l.req != nil && l.kind == kindWebSocket {
		withoutContext(l.req)
	}
}

// liveOf returns the connection of a request if it can be more than requests and
// answers.
func liveOf(ctx context.Context) (*Conn, *live) {
	c, _ := ctx.Value(connKey{}).(*Conn)
	if c == nil {
		return nil, nil
	}
	return c, c.live.Load()
}

// withoutContext has every offer of compression ask for messages that do not
// depend on each other. A server may agree to that unasked (RFC 7692, sections
// 7.1.1.1 and 7.1.1.2), so the client cannot object.
func withoutContext(h http.Header) {
	const key = "Sec-Websocket-Extensions"
	var offers []string
	for _, line := range h[key] {
		for offer := range strings.SplitSeq(line, ",") {
			offer = strings.TrimSpace(offer)
			if strings.HasPrefix(offer, "permessage-deflate") {
				for _, parameter := range []string{"server_no_context_takeover", "client_no_context_takeover"} {
					if !strings.Contains(offer, parameter) {
						offer += "; " + parameter
					}
				}
			}
			offers = append(offers, offer)
		}
	}
	if offers != nil {
		h[key] = []string{strings.Join(offers, ", ")}
	}
}

// Save has state called when the connection is about to move, and what it returns
// given to the new process, where [Resumed] returns it. Meanwhile no message of
// the client is delivered, and what is written is kept for later; state may take
// locks that a writer holds. A later Save replaces an earlier one. When state
// panics, or takes longer than a second, the connection stays.
//
// What is written after state has returned reaches the client as well: the old
// process forwards it. So a handler that writes without having been asked, fed by a
// ticker or by a broker which feeds the new process too, must stop when its state
// was saved, until [Stayed] tells it to go on.
func Save(ctx context.Context, state func() []byte) {
	if c, l := liveOf(ctx); l != nil {
		c.gate.Lock()
		l.save = state
		c.gate.Unlock()
	}
}

// Stayed has again called when the connection goes on here after all, each time
// that it, or its group, was about to move: the new process may have refused it,
// or died. It is for who has stopped to write when state was called (see [Save]).
// again is called in a goroutine of its own, a later Stayed replaces an earlier
// one.
func Stayed(ctx context.Context, again func()) {
	if c, l := liveOf(ctx); l != nil {
		c.gate.Lock()
		l.again = again
		c.gate.Unlock()
	}
}

// Resumed reports whether this request is that of a connection which has moved
// here, and returns what was saved, nil if nothing was.
func Resumed(ctx context.Context) ([]byte, bool) {
	if _, l := liveOf(ctx); l != nil && l.replay != nil {
		return l.replay.state, true
	}
	return nil, false
}

// Framer finds where messages end in one direction of a protocol.
type Framer interface {
	// Next is given bytes that continue those it was given before, and returns how
	// many of them, at least one, belong to the message under way, and whether the
	// message ends with them. The rest comes again.
	Next(b []byte) (n int, end bool)
}

// Framing says how a hijacked connection that is not a WebSocket is made of
// messages, as the client sends them and as it is sent them; without it such a
// connection does not move. It must be called before the connection is hijacked.
func Framing(ctx context.Context, in, out Framer) {
	if c, l := liveOf(ctx); l != nil && l.kind == kindOther {
		c.gate.Lock()
		l.in, l.out.framer = in, out
		c.gate.Unlock()
	}
}
