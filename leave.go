package segue

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/conns"
)

const (
	// retryAfter is what a refused client is told: by then a service that is
	// being restarted is back.
	retryAfter = time.Second
	// handlerGrace is how long handlers have to return once their connection
	// was cut, before they are called deaf and their stacks are taken down.
	handlerGrace = 500 * time.Millisecond
	// refusalGrace is how long those who are being refused have to read it.
	refusalGrace = 500 * time.Millisecond
	// waitTick is how often a wait looks for idle connections and says what it
	// waits for.
	waitTick = time.Second
	// leastTick keeps a wait without patience from spinning.
	leastTick = 10 * time.Millisecond
)

// leave begins to leave, for good or because a successor serves. It returns
// when the phase has changed; the leaving itself goes on beside the loop. A
// service that leaves already goes on doing so.
func (m *machine) leave(reason string, successor bool) error {
	if m.phase >= Draining {
		if successor && m.phase == Draining {
			m.shut() // somebody else takes what this process would refuse
		}
		return nil
	}
	if m.handing != nil && !m.handing.over {
		// Give the successor up first; it ends with a report of its own.
		m.handing.cancel(errors.New("the old process was told to leave: " + reason))
	}
	ctx, force := context.WithCancelCause(context.Background())
	m.force, m.leftAt = force, time.Now()
	m.report.Reason, m.report.Successor = reason, successor
	if !successor {
		m.say("STOPPING=1")
	}
	d := &drain{m: m, successor: successor, accepts: m.opened && !successor, handing: m.handing, departure: m.departure}
	if m.phase != Starting {
		d.inFlight, d.served = d.count()
	}
	m.enter(leave, reason)
	if m.phase == Closing {
		m.close(ctx)
		return nil
	}
	go m.async(func() error { return d.run(ctx) }, func(err error) {
		if err != nil {
			m.errs = append(m.errs, err)
		}
		m.tellLive() // the last counts
		m.enter(drained, "")
		m.close(ctx)
	})
	return nil
}

// drain is one leaving, from the decision until nothing is in flight.
type drain struct {
	m         *machine
	successor bool
	departure *departure  // by which live connections go to the successor; nil when they do not
	moving    atomic.Bool // they do still
	accepts   bool        // until the end, to refuse clearly; one that never served leaves that to those who do
	handing   *handing
	inFlight  int    // when it began
	served    uint64 // by then
}

// run follows the order that loses nothing: accepting stops before goodbye,
// goodbye comes before the wait, the wait before Shutdown. Connections that go on
// in the successor go before the goodbye.
func (d *drain) run(ctx context.Context) error {
	m := d.m
	if d.departure != nil && !d.successor {
		d.departure.end() // the successor is given up
		d.departure = nil
	}
	if d.handing != nil {
		<-d.handing.done
	}
	if d.successor {
		m.tasks.solo.stop()
	}
	if d.accepts {
		for _, s := range m.app.servers {
			s.gate.Open() // it may have been paused
		}
		d.lameDuck(ctx)
	}
	for _, s := range m.app.servers {
		if s.http != nil {
			s.http.SetPace(m.opts.pace())
		}
		if d.accepts && s.http != nil {
			s.http.Refuse(retryAfter)
		} else {
			s.gate.Shut()
		}
	}
	began := time.Now()
	budget, cancel := context.WithTimeout(ctx, m.opts.DrainTimeout)
	defer cancel()
	var errs []error
	var wg sync.WaitGroup
	server := func(s *server) {
		wg.Go(func() {
			if err := d.server(ctx, budget, s); err != nil {
				m.mu.Lock()
				errs = append(errs, err)
				m.mu.Unlock()
			}
		})
	}
	d.moving.Store(d.departure != nil)
	stopTelling := d.tell(began)
	if d.departure != nil {
		d.depart(budget, server)
	} else {
		for _, s := range m.app.servers {
			server(s)
		}
	}
	moved := time.Now()
	wg.Wait()
	stopTelling()
	m.note(Step{Name: "drain", Took: time.Since(moved), Budget: m.opts.DrainTimeout}) // which a move before it shares
	d.sum()
	return errors.Join(errs...)
}

// sum puts into the report what became of requests and clients.
func (d *drain) sum() {
	m := d.m
	_, served := d.count()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.app.servers {
		if s.http == nil {
			continue
		}
		for reason, n := range s.http.Told() {
			add(&m.report.Goodbyes, reason, n)
		}
	}
	m.report.InFlight = d.inFlight
	m.report.Finished = max(0, min(int(served-d.served), d.inFlight)-lost(m.report.Cut))
}

// lost counts what was cut in the middle of a request.
func lost(cut []conns.Cut) (n int) {
	for _, c := range cut {
		if c.Reason == conns.ReasonInFlight {
			n++
		}
	}
	return n
}

// lameDuck goes on serving, so that load balancers have time to look away.
func (d *drain) lameDuck(ctx context.Context) {
	budget := d.m.opts.LameDuck
	if budget == 0 {
		return
	}
	began := time.Now()
	for _, s := range d.m.app.servers {
		if s.http != nil {
			s.http.Announce()
		}
	}
	select {
	case <-time.After(budget):
	case <-ctx.Done():
	}
	d.m.note(Step{Name: "lame duck", Took: time.Since(began), Budget: budget, Error: text(context.Cause(ctx))})
}

// server has one server leave, within budget. Ending ctx cuts it short.
func (d *drain) server(ctx, budget context.Context, s *server) error {
	if s.http == nil {
		return d.foreign(budget, s)
	}
	s.http.Announce()
	d.wait(budget, s.http)
	if d.accepts {
		// A successor that was given up has the socket, too, until its end: clients
		// could still connect, and nobody would answer them.
		d.awaitHeir(budget)
		// From here on nobody is let into a backlog that would be reset; those who
		// are being refused get their answer.
		s.gate.Close()
		last, cancel := context.WithTimeout(budget, refusalGrace)
		s.http.Wait(last)
		cancel()
	}
	d.note(s.http.Cut())
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), handlerGrace)
	defer cancel()
	if s.http.Wait(grace) != nil {
		d.m.mu.Lock()
		d.m.report.Stacks = strings.Join(conns.Stacks(), "\n\n")
		d.m.mu.Unlock()
		return s.impl.(*http.Server).Close() // Shutdown would wait for handlers that do not listen
	}
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.m.opts.ShutdownTimeout)
	defer cancel()
	return ignoreEnd(s.http.Shutdown(down))
}

// foreign has a server leave that has its own way of waiting. When the budget
// ends its connections are cut from beneath, so that they can be named, before
// it is told to cut them itself.
func (d *drain) foreign(budget context.Context, s *server) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(budget))
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- guard(fmt.Sprintf("Shutdown of server %q", s.name), func() error { return s.impl.Shutdown(ctx) })
	}()
	select {
	case err := <-done:
		d.note(s.other.Cut())
		return ignoreEnd(err)
	case <-budget.Done():
	}
	d.note(s.other.Cut())
	cancel()
	select {
	case err := <-done:
		return ignoreEnd(err)
	case <-time.After(d.m.opts.ShutdownTimeout):
		return fmt.Errorf("server %q: its Shutdown did not return within %v of the end of its context", s.name, d.m.opts.ShutdownTimeout)
	}
}

func (d *drain) awaitHeir(ctx context.Context) {
	if d.handing == nil || d.handing.heir == nil {
		return
	}
	select {
	case <-d.handing.heir.Done():
	case <-ctx.Done():
	}
}

// wait returns when the server has no connection left or the budget ends.
// Without a successor it waits for those that are not refused; of them, idle ones
// that could not be told leave earlier.
func (d *drain) wait(budget context.Context, h *conns.HTTP) {
	began := time.Now()
	patience := d.m.opts.IdleTimeout
	gone := h.Wait
	if d.accepts {
		gone = h.Settle
	}
	for {
		round, cancel := context.WithTimeout(budget, max(min(waitTick, patience), leastTick))
		err := gone(round)
		cancel()
		if err == nil || budget.Err() != nil {
			return
		}
		if !d.successor && time.Since(began) >= patience {
			d.note(h.CutIdle(patience))
		}
	}
}

// note puts what was cut into the report and tells about it.
func (d *drain) note(cut []conns.Cut) {
	d.m.mu.Lock()
	d.m.report.Cut = append(d.m.report.Cut, cut...)
	d.m.mu.Unlock()
	for _, c := range cut {
		d.m.out.emit(ConnectionCut{c})
	}
}

// count is how many requests are in flight, and how many have been served.
func (d *drain) count() (inFlight int, served uint64) {
	for _, s := range d.m.app.servers {
		if s.http != nil {
			stats := s.http.Stats()
			inFlight += stats.InFlight
			served += stats.Served
		}
	}
	return inFlight, served
}

// tell says about once a second how many connections have moved, or, when no
// more have, what is still waited for.
func (d *drain) tell(began time.Time) (stop func()) {
	tick := time.NewTicker(waitTick)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for told := int64(0); ; {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if d.moving.Load() {
				if n := d.departure.departed.Load(); n > told {
					told = n
					e := ConnectionsMoved{Departed: int(n)}
					d.m.out.emit(e)
					d.m.say("STATUS=" + Draining.String() + ": " + e.String())
					continue
				}
			}
			w := Waiting{Left: d.m.opts.DrainTimeout - time.Since(began)}
			var live conns.Live
			for _, s := range d.m.app.servers {
				stats := s.stats()
				live = sum(live, stats.Live)
				w.Requests += stats.InFlight
				w.Connections += stats.Open
				w.Idle += stats.Idle + stats.New
			}
			d.m.out.emit(w)
			d.m.say("STATUS=" + withLive(w.String(), live))
		}
	})
	return func() { tick.Stop(); close(done); wg.Wait() }
}

// ignoreEnd: a budget that ended is in the report as what was cut.
func ignoreEnd(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
