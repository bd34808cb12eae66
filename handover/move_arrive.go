package handover

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// Passengers takes the connections of one server; conns.Arrivals is one. The
// methods are called one at a time, from the goroutine of [Arrival.Run].
type Passengers interface {
	// Take owns parcels and files, of which each connection has one, and answers
	// later, or from within. When whole is set it takes all of them or none. Parcels
	// are parts of one piece of memory.
	Take(batch uint64, whole bool, parcels [][]byte, files []int)
	// Go says that the connections of an answered batch which were not refused are
	// to be served. late[i] is to be written to connection i first. It may come
	// before answer has returned.
	Go(batch uint64, late [][]byte)
	// Late is called after Go with more of it; end says that the connection was
	// closed by the other side's handler.
	Late(batch uint64, i int, data []byte, end bool)
	// Gone is called last: nothing more will come. What was answered without an
	// error is to be served, the rest is to be dropped. An answer that has not
	// returned yet will do so at once, and what it says counts.
	Gone()
}

// Arrival is the end of a move that connections arrive at.
type Arrival struct {
	link *moveLink

	mu      sync.Mutex
	batches map[moveKey]*moveTaken
	running bool
	closed  bool
}

type moveTaken struct {
	moveSent
	answered, gone bool
}

// NewArrival takes over f, one end of [MovePair], also when there is an error,
// and raises the soft limit of open files to the hard one. Messages are refused
// unless a process of this user sent them, and if peer is not 0, the one with
// that pid.
func NewArrival(f *os.File, peer int) (*Arrival, error) {
	l, err := newMoveLink(f, peer)
	if err != nil {
		return nil, err
	}
	if err := raiseFileLimit(); err != nil {
		l.conn.Close()
		return nil, err
	}
	return &Arrival{link: l, batches: map[moveKey]*moveTaken{}}, nil
}

// Run receives until the other side ends, and then returns nil, or an error
// when a message was refused. It is called once. Before it returns, the channel
// is closed and Gone was called for every server.
//
// open is called with the first batch for each server; when it returns an error
// all connections of that server are refused with it. answer may be called from
// any goroutine, once for each batch: refusals[i] is why connection i is
// refused, "" if it is served. It fails when the other side has stopped waiting,
// or is gone: then the connections are the other side's, and are to be dropped
// here without a byte written.
//
// A message that is cut short, malformed, of another version, from a stranger or
// without its descriptors is refused as a whole and is the last one.
func (a *Arrival) Run(open func(server string, answer func(batch uint64, refusals []string) error) (Passengers, error)) error {
	if !a.begin() {
		return errMoveClosed
	}
	servers := map[string]Passengers{}
	err := a.receive(servers, open)
	if err != nil {
		text := []byte(errorText(err.Error()))
		a.link.send(moveMessage{kind: moveError, items: [][]byte{text}}) // so that the other side's report has the reason
	}
	// From here on no answer is sent: what Gone finds unanswered stays so.
	a.link.end(errMoveClosed)
	a.link.conn.Close()
	for _, p := range servers {
		p.Gone()
	}
	return err
}

var errMoveClosed = errors.New("the move is over")

// Close ends Run as if the other side had gone, when it has read what has arrived
// by now, and does not wait for that. Without a Run it releases the descriptor.
func (a *Arrival) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	var err error
	if a.running {
		err = a.link.conn.CloseRead()
	} else {
		err = a.link.conn.Close()
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (a *Arrival) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	ok := !a.running && !a.closed
	a.running = true
	return ok
}

func (a *Arrival) receive(servers map[string]Passengers, open func(string, func(uint64, []string) error) (Passengers, error)) error {
	for {
		m, err := a.link.receive()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.admit(m); err != nil {
			closeAll(m.files)
			return fmt.Errorf("cannot go on with the move: %v for batch %d of server %q: %w", m.kind, m.batch, m.server, err)
		}
		p := servers[m.server]
		if p == nil {
			answer := func(batch uint64, refusals []string) error { return a.answer(m.server, batch, refusals) }
			if p, err = open(m.server, answer); err != nil {
				p = turnedAway{answer, errorText(err.Error())}
			}
			servers[m.server] = p
		}
		switch m.kind {
		case moveBatch:
			p.Take(m.batch, m.arg == 1, m.items, m.files)
		case moveGo:
			p.Go(m.batch, m.items)
		case moveLate:
			p.Late(m.batch, int(m.arg>>1), m.items[0], m.arg&1 == 1)
		}
	}
}

// admit checks that a message follows from those before it, and notes it.
func (a *Arrival) admit(m moveMessage) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := moveKey{m.server, m.batch}
	b := a.batches[key]
	switch m.kind {
	case moveBatch:
		if b != nil || m.arg > 1 || len(m.items) == 0 {
			return errMoveOrder
		}
		a.batches[key] = &moveTaken{moveSent: moveSent{len(m.items), m.arg == 1}}
	case moveGo:
		if b == nil || !b.answered || b.gone || m.arg != 0 || len(m.items) != b.connections {
			return errMoveOrder
		}
		b.gone = true
	case moveLate:
		if b == nil || !b.gone || int64(m.arg>>1) >= int64(b.connections) || len(m.items) != 1 {
			return errMoveOrder
		}
	default:
		return errMoveOrder
	}
	return nil
}

var errMoveOrder = errors.New("it does not follow from what came before")

func (a *Arrival) answer(server string, batch uint64, refusals []string) error {
	m := moveMessage{kind: moveVerdict, server: server, batch: batch, items: make([][]byte, len(refusals))}
	for i, why := range refusals {
		m.items[i] = []byte(why[:min(len(why), maxReason)])
	}
	if err := a.note(server, batch, refusals); err != nil {
		return fmt.Errorf("cannot answer batch %d of server %q: %w", batch, server, err)
	}
	return a.link.send(m)
}

// maxReason bounds the text of a refusal: a batch of any size can be answered.
const maxReason = 1 << 10

// note is before the verdict is sent: GO may come before send has returned.
func (a *Arrival) note(server string, batch uint64, refusals []string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.batches[moveKey{server, batch}]
	if b == nil || b.answered {
		return errMoveOrder
	}
	if err := b.check(refusals); err != nil {
		return err
	}
	b.answered = true
	return nil
}

// turnedAway is a server that is not there.
type turnedAway struct {
	answer func(batch uint64, refusals []string) error
	why    string
}

// Take refuses all.
func (t turnedAway) Take(batch uint64, whole bool, parcels [][]byte, files []int) {
	closeAll(files)
	refusals := make([]string, len(files))
	for i := range refusals {
		refusals[i] = t.why
	}
	t.answer(batch, refusals) // a failure is the end of the channel, which Run notices
}

func (turnedAway) Go(uint64, [][]byte)            {}
func (turnedAway) Late(uint64, int, []byte, bool) {}
func (turnedAway) Gone()                          {}
