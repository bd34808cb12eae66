package verify

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
)

// Kind is one way of using a service: a protocol and a manner. Kinds are plain
// values; what they need while running is in their senders.
type Kind interface {
	// Name is part of every request's id: letters, digits, '-', '.' and '_'.
	Name() string
	// Open returns one sender per worker. It does not connect yet. Senders of
	// one call may share connections.
	Open(t Target, workers int) ([]Sender, error)
}

// Sender sends the requests of one worker, one after the other.
type Sender interface {
	// Send sends r and returns when its fate is known: nil for a complete and
	// correct answer, otherwise a *Loss (any other error counts as Other). It
	// never sends twice what may have been applied. ctx carries the deadline.
	Send(ctx context.Context, r *Request) error
	// Close lets go of the connection. No Send is under way by then.
	Close() error
}

// Connect is why a connection was made.
type Connect int

const (
	// First is a worker's first connection, or one of a kind that uses a new
	// connection for each request.
	First Connect = iota
	// Asked follows `Connection: close`, GOAWAY or the orderly end of an SSE stream.
	Asked
	// Unasked follows a connection that ended without announcement.
	Unasked
)

// Request is one request of a run.
type Request struct {
	// ID is unique: run-kind-worker-seq.
	ID string
	// Worker and Seq count from 0.
	Worker, Seq int
	// Rand belongs to the worker; what it yields follows from the seed.
	Rand *rand.Rand

	mu         sync.Mutex
	local      string
	connects   [3]int
	unrecorded bool
}

// Via notes the connection that carries the request; the examples of losses
// name its local address, which a packet capture can be searched for.
func (r *Request) Via(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.local = c.LocalAddr().String()
}

// Connected counts a connection made for this request.
func (r *Request) Connected(why Connect) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connects[why]++
}

// Unrecorded says that the service does not record this request, such as an
// event it pushes by itself, so the comparison leaves it out.
func (r *Request) Unrecorded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unrecorded = true
}
