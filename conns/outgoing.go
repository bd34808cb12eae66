package conns

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
)

// outgoing follows what is written to a live connection: the head of the answer,
// and then messages.
type outgoing struct {
	kind   kind
	head   []byte // of the answer, until it is complete
	answer answer
	frames frameScanner // WebSocket
	framer Framer       // another protocol
	ended  bool         // a frame has ended in the last next, or follow
	open   bool         // inside a message of framer's
	events streamScanner
}

// answer is what a replay has to agree with.
type answer struct {
	done       bool
	status     int
	protocol   string // Sec-WebSocket-Protocol
	extensions string // Sec-WebSocket-Extensions
}

// mostHead bounds the head of an answer that is looked at.
const mostHead = 64 << 10

// next returns how many bytes of p, at least one, there are up to the next point
// at which the stream may be cut; all of them if there is none.
func (o *outgoing) next(p []byte) int {
	if o.kind == kindSSE {
		n := o.events.next(p)
		o.answer.done, o.answer.status = o.events.headDone, o.events.head.status
		return n
	}
	o.ended = true
	if !o.answer.done {
		return o.nextHead(p)
	}
	o.ended = false
	if o.framer == nil && o.kind != kindWebSocket {
		return len(p)
	}
	for n := 0; ; {
		if o.framer != nil {
			k, end := o.framer.Next(p[n:])
			n, o.open = n+min(max(k, 1), len(p)-n), !end
		} else {
			n += o.frames.next(p[n:])
			o.ended = o.ended || o.frames.frameEnd()
		}
		if n == len(p) || o.boundary() {
			return n
		}
	}
}

// follow looks at all of p.
func (o *outgoing) follow(p []byte) {
	ended := false
	for n := 0; n < len(p); {
		n += o.next(p[n:])
		ended = ended || o.ended
	}
	o.ended = ended
}

func (o *outgoing) nextHead(p []byte) int {
	before := len(o.head)
	o.head = append(o.head, p[:min(len(p), mostHead-before+1)]...)
	end := bytes.Index(o.head[max(0, before-3):], []byte("\r\n\r\n"))
	if end < 0 {
		if len(o.head) > mostHead {
			o.head, o.answer.done = nil, true // whatever this is, it is no upgrade
		}
		return len(p)
	}
	end += max(0, before-3) + 4
	head := o.head[:end]
	o.head = nil
	a := readAnswer(head)
	if a.status >= 100 && a.status < 200 && a.status != http.StatusSwitchingProtocols {
		return end - before // informational: another head follows
	}
	o.answer = a
	return end - before
}

// readAnswer takes from the head of an answer what matters. There is one for every
// connection that moves: http.ReadResponse would cost more than all the rest.
func readAnswer(head []byte) answer {
	a := answer{done: true}
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) >= len("HTTP/1.1 101") && bytes.HasPrefix(line, []byte("HTTP/1.")) {
		a.status, _ = strconv.Atoi(string(line[9:12]))
	}
	var extensions []string
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case len(name) == len("Sec-WebSocket-Protocol") && strings.EqualFold(string(name), "Sec-WebSocket-Protocol"):
			a.protocol = string(bytes.TrimSpace(value))
		case len(name) == len("Sec-WebSocket-Extensions") && strings.EqualFold(string(name), "Sec-WebSocket-Extensions"):
			extensions = append(extensions, string(bytes.TrimSpace(value)))
		}
	}
	a.extensions = strings.Join(extensions, ", ")
	return a
}

// boundary reports whether the stream may be cut here, and be continued by
// somebody who knows nothing of what was written.
func (o *outgoing) boundary() bool {
	switch {
	case o.kind == kindSSE:
		return o.events.boundary()
	case !o.answer.done || o.answer.status != http.StatusSwitchingProtocols:
		return false
	case o.kind == kindWebSocket:
		return o.frames.messageEnd()
	}
	return o.framer != nil && !o.open
}

// gatherMost is how long a frame may be for its first bytes to wait for the last.
const gatherMost = 8 << 10

// gathers reports whether n bytes, the last that next was given, are best written
// together with those to come: they are of one frame and not the end of it. A
// library that writes header and payload one after the other, as all do that have
// no writev(2), so makes one packet of them and not two.
func (o *outgoing) gathers(n int) bool {
	missing := o.frames.missing()
	return missing > 0 && missing+uint64(n) <= gatherMost && !o.ended
}

// frameEnd reports whether a control frame may stand here: RFC 6455, section 5.4.
func (o *outgoing) frameEnd() bool {
	return o.kind == kindWebSocket && o.answer.status == http.StatusSwitchingProtocols &&
		o.frames.frameEnd() && !o.frames.closing
}

// compressesWithContext reports whether the messages of a WebSocket depend on
// those before them (RFC 7692, section 7.1.1).
func (a answer) compressesWithContext() bool {
	x := a.extensions
	return strings.Contains(x, "permessage-deflate") &&
		!(strings.Contains(x, "server_no_context_takeover") && strings.Contains(x, "client_no_context_takeover"))
}
