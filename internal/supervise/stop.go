package supervise

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// ending is a stop under way.
type ending struct {
	began   time.Time
	last    *generation
	forced  bool
	waiters []chan client.Report
}

// Stop ends the service in order and returns its report. A second caller gets
// the same.
func (s *Service) Stop(ctx context.Context) (client.Report, error) {
	reply := make(chan client.Report, 1)
	if err := s.do(func() error { s.end(reply); return nil }); err != nil {
		return client.Report{}, err
	}
	select {
	case r := <-reply:
		return r, nil
	case <-ctx.Done():
		return client.Report{}, context.Cause(ctx)
	}
}

// Force ends the service without waiting any longer: every generation is asked
// again, which cuts its drain short, and then killed. It stops a service that was
// not told to stop yet: a second signal may be heard before the first.
func (s *Service) Force() {
	s.do(func() error {
		s.end(nil)
		s.stopping.forced = true
		for _, g := range s.view.alive {
			g.force()
		}
		return nil
	})
}

// end begins to stop. The attempt under way, if any, is rolled back first.
func (s *Service) end(reply chan client.Report) {
	if s.stopping == nil {
		s.stopping = &ending{began: time.Now(), last: s.view.current}
	}
	if reply != nil {
		s.stopping.waiters = append(s.stopping.waiters, reply)
	}
	if s.enter(stop, "") != nil {
		return // it is stopping already, or has failed and waits for the last to leave
	}
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	a := s.try
	if a == nil {
		s.endAll()
		return
	}
	a.cancel(errors.New("the service was told to stop"))
	go func() {
		<-a.done
		s.do(func() error { s.endAll(); return nil })
	}()
}

func (s *Service) endAll() {
	for _, g := range s.view.alive {
		if g == s.view.current {
			s.become(g, client.RoleDraining)
		}
		g.leave(handover.Stop, g.budget)
	}
	s.endIfGone()
}

// endIfGone ends the loop when nothing is left.
func (s *Service) endIfGone() {
	if s.view.state == client.Stopping && len(s.view.alive) == 0 && s.try == nil {
		s.enter(gone, "")
	}
}

// reportStop is the last word, after the loop and everything beside it. A service
// that has failed had no stop, unless somebody asked for one meanwhile.
func (s *Service) reportStop() {
	e := s.stopping
	if e == nil {
		return
	}
	report := client.Report{
		Service: s.name, Action: "stop", Outcome: client.Done,
		From: infoOf(e.last), Began: e.began, Took: time.Since(e.began), Steps: []client.Step{},
	}
	if e.last != nil {
		report.Drain = &e.last.drain
		if e.last.drain.Killed {
			report.Outcome, report.Reason = client.Forced, fmt.Sprintf("generation %d did not leave and was killed", e.last.number)
		}
	}
	if e.forced {
		report.Outcome, report.Reason = client.Forced, "it was not waited for"
	}
	s.bus.publish(client.Event{Kind: client.EventReport, Report: &report})
	for _, w := range e.waiters {
		w <- report
	}
}
