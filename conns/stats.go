package conns

import (
	"net/http"
	"time"
)

// Stats counts connections twice, by state and by kind: either set of counters
// adds up to Open.
type Stats struct {
	Open int `json:"open"`

	New      int `json:"new"`      // no request yet
	Active   int `json:"active"`   // at work
	Idle     int `json:"idle"`     // between requests
	Hijacked int `json:"hijacked"` // taken over by a handler
	Closed   int `json:"closed"`   // closed, but a handler is still running

	HTTP1     int `json:"http1"`
	HTTP2     int `json:"h2"`
	WebSocket int `json:"websocket"`
	SSE       int `json:"sse"` // HTTP/1 only: an HTTP/2 connection may carry any number of streams
	Other     int `json:"other"`

	InFlight int    `json:"in_flight"` // requests; hijacked ones do not count
	Served   uint64 `json:"served"`    // requests that are no longer in flight

	Live Live `json:"live"` // zero under a Tracker that is used by itself
}

// Live counts WebSockets, event streams and other upgraded connections of HTTP/1.
type Live struct {
	WebSocket LiveState `json:"websocket"`
	SSE       LiveState `json:"sse"`
	Other     LiveState `json:"other"`

	// Totals since the server was made.
	Closed   uint64 `json:"closed"`    // for whatever reason; those that moved are not
	MovedIn  uint64 `json:"moved_in"`  // from another process
	MovedOut uint64 `json:"moved_out"` // to another process
	Dead     uint64 `json:"dead"`      // closed because the client did not answer; see Limits
	Expired  uint64 `json:"expired"`   // told goodbye because they were idle, or open, for too long
	Refused  uint64 `json:"refused"`   // that would have been more than Limits allow
}

// LiveState counts connections by what they have been told.
type LiveState struct {
	Normal   int `json:"normal"`
	Draining int `json:"draining"` // told goodbye, and not gone
}

// count adds a connection that is live.
func (s *Live) count(l *live) {
	of := &s.Other
	switch l.kind {
	case kindWebSocket:
		of = &s.WebSocket
	case kindSSE:
		of = &s.SSE
	}
	if l.left.Load() {
		of.Draining++
	} else {
		of.Normal++
	}
}

// totals adds what was counted since the beginning.
func (s *Live) totals(l *lives) {
	s.Closed, s.Dead, s.Expired, s.Refused = l.closed.Load(), l.dead.Load(), l.expired.Load(), l.turnedAway.Load()
	s.MovedIn, s.MovedOut = l.in.Load(), l.out.Load()
}

// Use is one use of a connection: a request in flight, or the connection as a
// whole when it has none.
type Use struct {
	Kind   string        `json:"kind"`  // http1, h2, websocket, sse, other
	State  string        `json:"state"` // new, active, idle, hijacked, closed
	Method string        `json:"method,omitempty"`
	Path   string        `json:"path,omitempty"` // without the query, which may hold secrets
	Remote string        `json:"remote"`
	Age    time.Duration `json:"age_ns"` // of the request, or of the state; an idle one's since it was first seen to be idle
}

// Stats walks the connections: about 20 ns for each. Nothing is counted on the
// path of a request.
func (t *Tracker) Stats() Stats {
	cs, begun := t.all()
	s := Stats{Served: begun}
	now := t.now()
	for _, c := range cs {
		c.count(&s, now)
	}
	return s
}

// InFlight lists the requests that are being served and the connections that
// handlers have taken over, in no particular order.
func (t *Tracker) InFlight() []Use {
	var list []Use
	cs, _ := t.all()
	for _, c := range cs {
		for _, cut := range c.uses() {
			if cut.Reason == ReasonInFlight || cut.Reason == ReasonHijacked {
				list = append(list, cut.Use)
			}
		}
	}
	return list
}

func (c *Conn) count(s *Stats, now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, k := c.look()
	c.age(now)
	s.Open++
	if l := c.live.Load(); l != nil && state != http.StateClosed {
		s.Live.count(l)
	}
	switch state {
	case http.StateNew:
		s.New++
	case http.StateActive:
		s.Active++
	case http.StateIdle:
		s.Idle++
	case http.StateHijacked:
		s.Hijacked++
	case http.StateClosed:
		s.Closed++
	}
	switch k {
	case kindHTTP1:
		s.HTTP1++
	case kindHTTP2:
		s.HTTP2++
	case kindWebSocket:
		s.WebSocket++
	case kindSSE:
		s.SSE++
	case kindOther:
		s.Other++
	}
	inFlight := 0
	for q := c.streams; q != nil; q = q.next {
		inFlight++
	}
	if c.request.method != "" && state == http.StateActive {
		inFlight++
	}
	s.InFlight += inFlight
	s.Served += c.begun - uint64(inFlight)
}

// look returns state and kind as they appear from outside. It needs c.mu.
func (c *Conn) look() (http.ConnState, kind) {
	state, k := c.state, c.kind
	if k == kindOther && state == http.StateNew && c.heard.Load() {
		state = http.StateActive // nobody says more of a connection that is not net/http's
	}
	if c.request.method != "" {
		k = c.request.kind
	}
	return state, k
}

// midRequest reports whether bytes came that belong to a request whose handler
// has not been called. It needs c.mu. What comes on HTTP/2 between requests are
// pings and the like; what comes first on TLS is the handshake, and as nobody
// says when that ends, a first request is not noticed here before its handler is.
func (c *Conn) midRequest() bool {
	return c.heard.Load() && c.kind != kindHTTP2 && !(c.secure && c.state == http.StateNew)
}

// uses lists what the connection is used for, with the reason why it would be
// cut now.
func (c *Conn) uses() []Cut {
	remote := c.RemoteAddr().String()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.tracker.now()
	state, k := c.look()
	whole := Cut{Use: Use{Kind: k.String(), State: state.String(), Remote: remote, Age: c.age(now)}}
	var list []Cut
	for q := c.streams; q != nil; q = q.next {
		list = append(list, whole.of(q, now, ReasonInFlight))
	}
	switch {
	case len(list) > 0:
		return list
	case state == http.StateHijacked:
		return append(list, whole.of(&c.request, now, ReasonHijacked))
	case c.request.method != "":
		return append(list, whole.of(&c.request, now, ReasonInFlight))
	case state == http.StateActive:
		whole.Reason = ReasonInFlight
	case c.midRequest():
		whole.Reason = ReasonIncomplete
	case state == http.StateIdle:
		whole.Reason = ReasonIdle
	default:
		whole.Reason = ReasonSilent
	}
	return append(list, whole)
}

// of narrows the use of a whole connection to one request.
func (c Cut) of(q *request, now time.Duration, reason string) Cut {
	c.Kind, c.Method, c.Path, c.Age, c.Reason = q.kind.String(), q.method, q.path, now-q.since, reason
	return c
}
