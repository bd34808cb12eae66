package segue

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/handover"
)

// leaveTo is leave for a service whose successor takes its live connections over
// by to, which the machine owns from now on; nil for one that does not.
func (m *machine) leaveTo(reason string, to *handover.Departure) error {
	switch {
	case to == nil:
	case m.phase < Draining && m.departure == nil:
		m.departure = to
	default:
		to.Close() // what it has goes by the way that was begun
	}
	return m.leave(reason, true)
}

// departureOf makes of a DRAIN's descriptors the way on which live connections go.
// Without one, or with one that is of no use, they are drained: nobody loses
// anything by that.
func (m *machine) departureOf(r handover.Request) *handover.Departure {
	if len(r.Files) == 0 {
		return nil
	}
	to, err := departure(r)
	if err != nil {
		m.out.emit(Problem{fmt.Errorf("connections do not move: %w", err)})
	}
	return to
}

func departure(r handover.Request) (*handover.Departure, error) {
	pid, err := peerOf(r, "TO")
	if err != nil {
		return nil, err
	}
	return handover.NewDeparture(r.Files[0], pid)
}

// peerOf is the process in field key, which is at the other end of the one
// descriptor of r. When it returns an error the descriptors are closed.
func peerOf(r handover.Request, key string) (int, error) {
	pid, err := strconv.Atoi(r.Fields[key])
	switch {
	case len(r.Files) != 1:
		err = fmt.Errorf("%d descriptors came with %s: exactly one is expected", len(r.Files), r.Verb)
	case err != nil || pid <= 0:
		err = fmt.Errorf("%s=%q of %s is not a process", key, r.Fields[key], r.Verb)
	default:
		return pid, nil
	}
	r.Close()
	return 0, err
}

// move gives the live connections of every HTTP server to the successor, one
// server after the other, and has each leave as any other (then) when nothing of
// it is left that might move. It has the drain's budget; of several servers each
// has an equal share of what is left, so that one long request does not keep the
// connections of the others from moving.
func (d *drain) move(budget context.Context, then func(*server)) {
	m := d.m
	began := time.Now()
	var servers []*server
	for _, s := range m.app.servers {
		if s.http != nil {
			servers = append(servers, s)
		} else {
			then(s)
		}
	}
	for i, s := range servers {
		share, cancel := context.WithTimeout(budget, max(0, d.left(began))/time.Duration(len(servers)-i))
		departed := s.http.Depart(share, &counted{Carrier: m.departure.Server(s.name), moved: &d.departed})
		cancel()
		d.account(departed)
		then(s)
	}
	d.moving.Store(false)
	m.mu.Lock()
	r := &m.report
	if len(r.Moved)+len(r.Stayed) > 0 {
		r.MoveTook = time.Since(began)
	}
	account := r.Move
	m.mu.Unlock()
	if account.MoveTook == 0 {
		return // there was nobody to move
	}
	m.note(Step{Name: "move", Took: account.MoveTook, Budget: m.opts.DrainTimeout, Error: account.MoveFailure})
	m.out.emit(ConnectionsMoved{Departed: total(account.Moved), Move: &account})
	m.say("STATUS=" + Draining.String() + ": " + account.String())
}

// left is what is left of the drain's budget.
func (d *drain) left(began time.Time) time.Duration { return d.m.opts.DrainTimeout - time.Since(began) }

// account puts what became of one server's connections into the report.
func (d *drain) account(departed conns.Departed) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	r := &d.m.report
	for kind, n := range departed.Moved {
		add(&r.Moved, kind, n)
	}
	for reason, n := range departed.Stayed {
		add(&r.Stayed, reason, n)
	}
	r.LongestPause = max(r.LongestPause, departed.Pause)
	if r.MoveFailure == "" {
		r.MoveFailure = brief(departed.Failure)
	}
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
		m.departure.Close()
	}
	m.arrivals.end()
}
