package conns

import (
	"errors"
	"net/http"
	"syscall"
	"time"
)

// declareWithin is how long after the upgrade a handler may declare its connection.
const declareWithin = 250 * time.Millisecond

// prospect is whether a connection can move.
type prospect uint8

const (
	ripe   prospect = iota // as soon as its reader is parked
	busy                   // when its request was answered
	notYet                 // it has to be looked at again
	never
)

// Why a connection does not move.
const (
	reasonHTTP2      = "HTTP/2"
	reasonTLS        = "TLS before 1.3"
	reasonNoExport   = "TLS whose state this process cannot export"
	reasonHijacked   = "hijacked without a request to serve again"
	reasonUndeclared = "not declared movable"
	reasonCompressed = "compression with context takeover"
	reasonNoFraming  = "protocol without framing"
	reasonEncoded    = "event stream with a content encoding"
	reasonNoIDs      = "event stream without ids"
	reasonNotHTTP    = "not understood"
	reasonRefused    = "refused by the new version"
	reasonEnding     = "its protocol is at the end"
	reasonNoSocket   = "it has no descriptor"
	reasonBody       = "its request had a body"
	reasonNeverQuiet = "nobody reads it, or a message does not end"
	reasonTooMuch    = "there is too much to be moved with it"
)

// prospect looks at the connection from outside.
func (c *Conn) prospect() (prospect, string) {
	if why := c.stays.Load(); why != nil {
		return never, *why
	}
	c.mu.Lock()
	state, http2, stream := c.state, c.http2.Load(), c.stream
	fresh := state == http.StateHijacked && c.age(c.tracker.now()) < declareWithin
	c.mu.Unlock()
	l := c.live.Load()
	_, socket := c.Conn.(syscall.Conn)
	switch {
	case state == http.StateClosed || c.moved():
		return never, ""
	case !socket:
		return never, reasonNoSocket
	case http2:
		return never, reasonHTTP2
	case c.secure && stream == c.Conn:
		return notYet, "" // in its handshake
	}
	if c.secure {
		if reason := c.http.exportable(stream); reason != "" {
			return never, reason
		}
	}
	switch {
	case l == nil && state == http.StateHijacked:
		return never, reasonHijacked
	case l == nil && state == http.StateActive:
		return busy, ""
	case l == nil:
		return ripe, ""
	}
	c.gate.Lock()
	defer c.gate.Unlock()
	return l.prospect(state == http.StateHijacked, fresh)
}

func (l *live) prospect(hijacked, fresh bool) (prospect, string) {
	switch {
	case l.kind == kindSSE && l.movableStream():
		return ripe, ""
	case l.kind == kindSSE && l.out.events.headDone && l.out.events.head.eventStream && !l.out.events.done:
		if l.body {
			return never, reasonBody
		}
		if l.out.events.head.encoded {
			return never, reasonEncoded
		}
		return never, reasonNoIDs
	case !hijacked:
		return notYet, "" // it may become a stream, or get an ordinary answer, or be at the end
	case !l.declared && fresh:
		return notYet, ""
	case !l.declared:
		return never, reasonUndeclared
	case l.body:
		return never, reasonBody
	case l.kind != kindWebSocket && (l.in == nil || l.out.framer == nil):
		return never, reasonNoFraming
	case !l.out.answer.done:
		return notYet, ""
	case l.out.answer.compressesWithContext():
		return never, reasonCompressed
	case l.left.Load() || l.ending.Load() || l.broken != nil || l.out.frames.closing || l.out.frames.bad:
		return never, reasonEnding
	}
	return ripe, ""
}

func (c *Conn) reason() string {
	if why := c.stays.Load(); why != nil {
		return *why
	}
	return ""
}

// kindName is the kind of a connection as it is counted.
func (c *Conn) kindName() string {
	if l := c.live.Load(); l != nil {
		return l.kind.String()
	}
	return kindHTTP1.String()
}

// descriptor is the socket's number in this process. It is good as long as the
// connection is not closed, which a hold sees to.
func (c *Conn) descriptor() (fd int, err error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return 0, errors.New(reasonNoSocket)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = raw.Control(func(f uintptr) { fd = int(f) })
	return fd, err
}
