package segue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/handover"
)

// departure is the way on which live connections go to the successor: with MOVE
// those that can at once, while this process is paused and can be resumed; in the
// drain the others.
type departure struct {
	m        *machine
	to       *handover.Departure
	carriers map[*server]conns.Carrier // the same for MOVE and the drain: batches are numbered on
	departed atomic.Int64              // connections, so far
	stop     context.CancelFunc        // ends MOVE
	moved    chan struct{}             // closed when MOVE is over

	mu      sync.Mutex
	account Move
}

// newDeparture owns to.
func newDeparture(m *machine, to *handover.Departure) *departure {
	d := &departure{m: m, to: to, carriers: map[*server]conns.Carrier{}, stop: func() {}, moved: make(chan struct{})}
	close(d.moved) // there is no MOVE yet
	for _, s := range m.app.servers {
		if s.http != nil {
			d.carriers[s] = &counted{Carrier: to.Server(s.name), moved: &d.departed}
		}
	}
	return d
}

// move begins to give live connections to the process at the other end of to,
// which it owns: those that can go at once. The departure's moved says when that
// is over. It goes on in the drain, or is taken back by resume.
func (m *machine) move(to *handover.Departure) (d *departure, err error) {
	err = m.do(func() error {
		switch {
		case m.phase != Paused || !m.opened:
			return fmt.Errorf("cannot move connections while the service is %v: only one that has served and is paused can", m.phase)
		case m.departure != nil:
			return errors.New("cannot move connections twice: they have begun to")
		}
		d = newDeparture(m, to)
		ctx, cancel := context.WithCancel(context.Background())
		d.stop, d.moved = cancel, make(chan struct{})
		m.departure = d
		go d.run(ctx)
		return nil
	})
	if err != nil {
		to.Close()
	}
	return d, err
}

// run is MOVE.
func (d *departure) run(ctx context.Context) {
	defer close(d.moved)
	over := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		d.m.tellMoves(&d.departed, over, func(n int) ConnectionsMoved { return ConnectionsMoved{Departed: n} })
	})
	d.each(func(s *server, c conns.Carrier) conns.Departed {
		departed := s.http.Move(ctx, c)
		departed.Stayed = nil // so far
		return departed
	})
	close(over)
	telling.Wait()
}

// each moves connections of all servers at the same time.
func (d *departure) each(move func(*server, conns.Carrier) conns.Departed) {
	began := time.Now()
	var servers sync.WaitGroup
	for s, c := range d.carriers {
		servers.Go(func() { d.add(move(s, c)) })
	}
	servers.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := &d.account; len(a.Moved)+len(a.Stayed) > 0 {
		a.MoveTook += time.Since(began)
	}
}

// add counts what became of one server's connections.
func (d *departure) add(departed conns.Departed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &d.account
	for kind, n := range departed.Moved {
		add(&a.Moved, kind, n)
	}
	for reason, n := range departed.Stayed {
		add(&a.Stayed, reason, n)
	}
	a.LongestPause = max(a.LongestPause, departed.Pause)
	if a.MoveFailure == "" {
		a.MoveFailure = brief(departed.Failure)
	}
}

// outcome is how many have gone, and why not more.
func (d *departure) outcome() (gone int, failure string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return total(d.account.Moved), d.account.MoveFailure
}

// end ends MOVE, and the way: what has not gone does not go any more. When it
// returns each connection is the other process's or this one's.
func (d *departure) end() {
	d.stop()
	<-d.moved
	d.to.Close() // every batch has its verdict, or cannot get one
}

// resume goes on serving, because the successor is given up: what has not gone to
// it by now is this process's, as before.
func (m *machine) resume() error {
	var d *departure
	m.do(func() error {
		if m.phase == Paused {
			d = m.departure
		}
		return nil
	})
	if d == nil {
		return m.do(m.open)
	}
	d.end() // beside the loop: the other side may have to be waited for
	return m.do(func() error {
		if m.phase == Paused {
			m.departure = nil
		}
		return m.open()
	})
}

// leaveTo is leave for a service whose successor takes its live connections over
// by to, which the machine owns from now on; nil for one that does not, or that has
// its way from MOVE.
func (m *machine) leaveTo(reason string, to *handover.Departure) error {
	switch {
	case to == nil:
	case m.phase < Draining && m.departure == nil:
		m.departure = newDeparture(m, to)
	default:
		to.Close() // what it has goes by the way that was begun
	}
	return m.leave(reason, true)
}

// depart gives the other connections to the successor, when they can go, and has
// each server leave as any other (then) when nothing of it is left that might move.
// It has the drain's budget, of which MOVE may still take its time.
func (d *drain) depart(budget context.Context, then func(*server)) {
	m, way := d.m, d.departure
	for _, s := range m.app.servers {
		if s.http == nil {
			then(s)
		}
	}
	select {
	case <-way.moved:
	case <-budget.Done():
		way.stop()
		<-way.moved
	}
	way.each(func(s *server, c conns.Carrier) conns.Departed {
		defer then(s)
		return s.http.Depart(budget, c)
	})
	d.moving.Store(false)
	account := way.account // nobody counts any more
	m.mu.Lock()
	m.report.Move = account
	m.mu.Unlock()
	if account.MoveTook == 0 {
		return // there was nobody to move
	}
	m.note(Step{Name: "move", Took: account.MoveTook, Error: account.MoveFailure})
	m.out.emit(ConnectionsMoved{Departed: total(account.Moved), Move: &account})
	m.say("STATUS=" + Draining.String() + ": " + account.String())
}

// counted is a Carrier that counts what the other side has taken.
type counted struct {
	conns.Carrier
	moved *atomic.Int64
}

func (c *counted) Await() (batch uint64, refusals []string, err error) {
	batch, refusals, err = c.Carrier.Await()
	c.moved.Add(int64(taken(refusals)))
	return batch, refusals, err
}

// taken counts who was not refused.
func taken(refusals []string) (n int) {
	for _, r := range refusals {
		if r == "" {
			n++
		}
	}
	return n
}

// endMoves ends what carries connections, in both directions: nothing is
// forwarded any more, since the process is about to end.
func (m *machine) endMoves() {
	if m.departure != nil {
		m.departure.to.Close()
	}
	m.arrivals.end()
}
