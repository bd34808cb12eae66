package conns

import (
	"net/http"
	"time"
)

// Journal is where connections and the requests on them are written down as they
// come and go, so that they can be named when the process is killed. A slot is a
// number; -1 is one that was not to be had.
//
// The methods are called with locks held: they must not block, nor call back.
// Calls for one slot do not overlap.
type Journal interface {
	Open(remote string) (slot int) // a connection
	Stream(conn int) (slot int)    // a request on the HTTP/2 connection that has slot conn
	Note(slot int, kind, state, method, path string, since time.Time)
	Close(slot int)
}

// Record has j told of every connection from now on, from the moment it is
// accepted until it is closed, with its state and the request that is in flight
// on it. A request of HTTP/1 is in flight until its answer was written; one of
// HTTP/2 until its handler has returned. Nil, which is also how it begins, ends
// that: when Record has returned j is not used any more. It must not be replaced
// by another one.
func (t *Tracker) Record(j Journal) {
	t.mu.Lock()
	t.journal = j
	t.mu.Unlock()
	if j != nil {
		return
	}
	cs, _ := t.all()
	for _, c := range cs {
		c.mu.Lock()
		c.journal = nil
		c.mu.Unlock()
	}
}

// Record has j told of everything that is being served; see [Tracker.Record].
func (h *HTTP) Record(j Journal) { h.tracker.Record(j) }

// recordTo begins to record a connection. It needs c.mu, unless nobody else knows
// the connection yet.
func (c *Conn) recordTo(j Journal) {
	c.journal, c.slot = j, j.Open(c.RemoteAddr().String())
	c.noteState()
}

// recordArrived begins to record a connection that is about to be this process's:
// what dies with it before that is not lost, since it goes on where it was.
func (t *Tracker) recordArrived(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, open := t.conns[c]; !open || t.journal == nil || c.state == http.StateClosed {
		return
	}
	c.age(t.now())
	c.recordTo(t.journal)
	if c.state == http.StateActive {
		c.noteRequest(c.slot, &c.request)
	}
}

// noteState writes down the connection; it needs c.mu, and a journal, as those
// below do.
func (c *Conn) noteState() {
	k, state, method, path := c.kind, c.state, "", ""
	switch {
	case state == http.StateHijacked:
		k, method, path = c.request.kind, c.request.method, c.request.path
	case state == http.StateNew && k == kindOther:
		state = http.StateActive // nobody will say more of it
	}
	c.journal.Note(c.slot, k.String(), stateNames[state], method, path, epoch.Add(c.since))
}

// noteRequest writes down a request in flight.
func (c *Conn) noteRequest(slot int, q *request) {
	c.journal.Note(slot, q.kind.String(), stateNames[http.StateActive], q.method, q.path, epoch.Add(q.since))
}

// forget gives back the slots of a connection that is closed.
func (c *Conn) forget() {
	for q := c.streams; q != nil; q = q.next {
		c.journal.Close(q.slot)
	}
	c.journal.Close(c.slot)
	c.journal = nil
}

// stateNames are those of http.ConnState.String, which looks into a map for them.
var stateNames = [...]string{
	http.StateNew: "new", http.StateActive: "active", http.StateIdle: "idle",
	http.StateHijacked: "hijacked", http.StateClosed: "closed",
}
