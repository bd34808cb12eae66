package conns

import (
	"bytes"
	"net/http"
	"runtime"
	"time"
)

// Why a connection was still there when it was cut.
const (
	ReasonInFlight   = "in flight"          // the client loses an answer
	ReasonIncomplete = "request incomplete" // bytes came, but not a whole request head
	ReasonHijacked   = "hijacked"           // its handler did not close it
	ReasonIdle       = "idle"               // its client had nothing to ask, so it could not be told
	ReasonSilent     = "silent"             // its client has never asked anything
)

// Cut is one thing that was cut off.
type Cut struct {
	Use
	Reason string `json:"reason"`
}

// Cut closes the connections that are left and names them: one entry for each
// request in flight, one for each connection without any. Handlers are not
// stopped by it, but their reads and writes fail and the contexts of their
// requests end; Wait, called again, waits for them to return.
func (t *Tracker) Cut() []Cut {
	var cuts []Cut
	cs, _ := t.all()
	for _, c := range cs {
		if c.closed() {
			continue
		}
		cuts = append(cuts, c.uses()...)
		c.sever()
	}
	return cuts
}

// CutIdle closes the connections that have been silent, or seen to be idle (by
// CutIdle, Stats or InFlight), for at least d, and names them. Their clients were
// not told: one that asks in this very moment finds its connection reset. It is
// for a server that leaves without a successor, after it has refused for a while.
func (t *Tracker) CutIdle(d time.Duration) []Cut {
	var cuts []Cut
	cs, _ := t.all()
	for _, c := range cs {
		if c.quietFor(d) {
			cuts = append(cuts, c.uses()...)
			c.sever()
		}
	}
	return cuts
}

func (c *Conn) quietFor(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, _ := c.look()
	quiet := (state == http.StateIdle || state == http.StateNew) && !c.midRequest()
	return quiet && c.age(c.tracker.now()) >= d
}

func (c *Conn) closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == http.StateClosed
}

// maxStacks bounds the text that Stacks asks the runtime for. The world stands
// still while it is written.
const maxStacks = 16 << 20

// Stacks returns the stack of every goroutine of this process that is inside a
// handler under an HTTP, in the format of a panic. It is meant for the report on
// handlers that go on after Cut. Goroutines that handlers started are not among
// them.
func Stacks() []string {
	buf := make([]byte, 64<<10)
	n := runtime.Stack(buf, true)
	for n == len(buf) && len(buf) < maxStacks {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	return inHandler(buf[:n])
}

// handlerFrame is how (*handler).ServeHTTP appears in a stack, and movedFrame how
// a handler whose connection has moved.
const (
	handlerFrame = "/conns.(*handler).ServeHTTP("
	movedFrame   = "/conns.forever("
)

func inHandler(all []byte) []string {
	var stacks []string
	for stack := range bytes.SplitSeq(all, []byte("\n\n")) {
		if bytes.Contains(stack, []byte(handlerFrame)) && !bytes.Contains(stack, []byte(movedFrame)) {
			stacks = append(stacks, string(bytes.TrimSpace(stack)))
		}
	}
	return stacks
}
