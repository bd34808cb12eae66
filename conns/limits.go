package conns

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultHeartbeat is a good [Limits.Heartbeat]: most middleboxes forget a
// connection that was silent for a minute.
const DefaultHeartbeat = 30 * time.Second

// DefaultMisses is [Limits.Misses] when it is 0.
const DefaultMisses = 3

// Limits of WebSockets, event streams and other upgraded connections of HTTP/1.
// The zero value has none. They are looked at about once a second, more often if
// one of them is shorter than four.
type Limits struct {
	// Heartbeat is how long a WebSocket client may be silent before it is sent a
	// ping, between two frames of whatever else it is sent. Its pong goes to the
	// handler's library, which ignores one that it did not ask for (RFC 6455,
	// section 5.5.3). An event stream on which nothing was written for so long gets
	// a comment, between two events: that keeps it open, but no client answers it,
	// so that one which has vanished is found when TCP gives up. 0: none.
	Heartbeat time.Duration

	// Misses is how many pings may go unanswered for the time of a Heartbeat. Then
	// the client is dead, and its connection is closed. Whatever comes from it counts
	// as an answer. Default [DefaultMisses].
	Misses int

	// Idle is how long there may be no message, in either direction, and Total how
	// long a connection may be open, including the time in other processes. Whoever
	// reaches one of them is told as in a goodbye, at the [Pace]; a WebSocket with
	// code 1001. 0: no limit.
	Idle, Total time.Duration

	// Max is how many connections there may be. A request for one more, if it did not
	// come from another process, is answered 503 with a Retry-After before any
	// handler. 0: no limit.
	Max int
}

// Why a connection is told although nobody leaves.
const (
	reasonIdle  = "idle for too long"
	reasonTotal = "open for too long"
)

// crowdRetry is the Retry-After of those who are one too many, in seconds.
const crowdRetry = "5"

// SetLimits sets the limits. It must be called before Serve.
func (h *HTTP) SetLimits(l Limits) { h.limits = l }

// lives counts the connections of a server that are more than requests and
// answers.
type lives struct {
	open                                       atomic.Int64
	closed, in, out, dead, expired, turnedAway atomic.Uint64

	mu       sync.Mutex
	watching bool // the goroutine of watch runs
}

// take counts one more, unless there are most already; 0 is no limit.
func (l *lives) take(most int) bool {
	for {
		n := l.open.Load()
		if most > 0 && n >= int64(most) {
			return false
		}
		if l.open.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// enroll counts a connection that is live from now on. It needs Conn.mu.
func (c *Conn) enroll(l *live) {
	if c.counted || c.state == http.StateClosed {
		return
	}
	most := c.http.limits.Max
	if l.replay != nil {
		most = 0
	}
	c.counted = c.http.lives.take(most)
	l.crowded = !c.counted
}

// strike is the opposite: it is closed, or an ordinary connection again. It needs
// Conn.mu.
func (c *Conn) strike() {
	if !c.counted {
		return
	}
	c.counted = false
	c.http.lives.open.Add(-1)
	if h := c.hold.Load(); h == nil || outcome(h.outcome.Load()) < moved {
		c.http.lives.closed.Add(1)
	}
}

// overfull answers a request for one connection too many.
func (h *HTTP) overfull(w http.ResponseWriter) {
	h.lives.turnedAway.Add(1)
	w.Header().Set("Retry-After", crowdRetry)
	http.Error(w, "There are too many connections. Try again in "+crowdRetry+" s.", http.StatusServiceUnavailable)
}
