package conns

import "context"

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
func Movable(ctx context.Context) {}

// Save has state called when the connection is about to move, and what it returns
// given to the new process, where [Resumed] returns it. Meanwhile no message of
// the client is delivered, and what is written is kept for later; state may take
// locks that a writer holds. A later Save replaces an earlier one. When state
// panics, or takes longer than a second, the connection stays.
func Save(ctx context.Context, state func() []byte) {}

// Resumed reports whether this request is that of a connection which has moved
// here, and returns what was saved, nil if nothing was.
func Resumed(ctx context.Context) ([]byte, bool) { return nil, false }

// Members is a group of connections that are never in two processes at once.
type Members struct{}

// Group makes the connection one of the named group: they stop, move and go on
// together, or stay together if one of them cannot. The state of a group is
// saved once. Names are those of one server. A connection belongs to one group
// only, the last one named. It should be Movable as well.
func Group(ctx context.Context, name string) *Members { return &Members{} }

// Save is [Save] for the group as a whole: state is called when all its members
// have stopped.
func (m *Members) Save(state func() []byte) {}

// Resumed is [Resumed] for the group: it reports whether the group has moved
// here, to every member that moved with it, and to those that join it later.
func (m *Members) Resumed() ([]byte, bool) { return nil, false }

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
func Framing(ctx context.Context, in, out Framer) {}
