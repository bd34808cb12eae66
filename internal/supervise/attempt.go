package supervise

import (
	"context"
	"slices"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// outputLines is how much of a failed generation's output a report shows.
const outputLines = 10

// attempt is one start or restart under way. The loop holds at most one.
type attempt struct {
	old     *generation // nil when nothing serves
	program string
	next    *generation // set when it was spawned; only for the attempt's goroutine
	moved   bool        // MOVE was tried
	passage passage     // what DRAIN is to carry then
	cancel  context.CancelCauseFunc
	done    chan struct{}      // closed when the outcome is decided
	reply   chan client.Report // gets the report once the old generation has left; nil if nobody waits
}

// Restart puts a new generation in the place of the one that serves, and returns
// when the old one has left or the attempt was rolled back. A refusal is a
// *client.Error and changes nothing. When ctx ends the restart goes on: it is
// the service's, not the caller's.
func (s *Service) Restart(ctx context.Context, r client.RestartRequest) (client.Report, error) {
	reply := make(chan client.Report, 1)
	err := s.do(func() error {
		program := s.program
		if r.Binary != "" {
			var err error
			if program, err = s.config.program(r.Binary); err != nil {
				return &client.Error{Message: err.Error()}
			}
		}
		if err := s.enter(restart, ""); err != nil {
			hint := "wait for it to end; `segue status` shows how far it is"
			if s.view.state == client.Stopping {
				hint = "start it anew when it has stopped"
			}
			return &client.Error{Message: err.Error(), Hint: hint}
		}
		if s.timer != nil {
			s.timer.Stop()
			s.timer = nil
		}
		s.begin(reply, program)
		return nil
	})
	if err != nil {
		return client.Report{}, err
	}
	select {
	case report := <-reply:
		return report, nil
	case <-ctx.Done():
		return client.Report{}, context.Cause(ctx)
	}
}

// begin starts an attempt; program "" is the present one.
func (s *Service) begin(reply chan client.Report, program string) {
	if program == "" {
		program = s.program
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	a := &attempt{program: program, cancel: cancel, done: make(chan struct{}), reply: reply}
	if g := s.view.current; g != nil && g.Err() == nil && s.view.state == client.Restarting {
		a.old = g
	}
	s.try = a
	s.beside.Go(func() { s.run(ctx, a) })
}

// run is the attempt's goroutine.
func (s *Service) run(ctx context.Context, a *attempt) {
	report := client.Report{Service: s.config.Name, Action: "restart", Began: time.Now()}
	restart := handover.Restart{
		Spawn: func(context.Context) (handover.Generation, error) {
			g, err := s.spawn(a.program)
			if err != nil {
				return nil, err
			}
			a.next, g.back = g, a.old
			return g, nil
		},
		Probe:        func(ctx context.Context, _ handover.Generation) error { return s.probe(ctx, a.next) },
		ReadyTimeout: s.config.ReadyTimeout, Trial: s.config.Trial, Probation: s.config.Probation, MoveWithin: s.config.DrainTimeout,
		Move: func(ctx context.Context, _ handover.Generation) (note string) {
			a.moved = true
			a.passage, note = a.old.move(ctx, a.next)
			return note
		},
		Progress: func(step handover.Step) { s.progress(a, step) },
	}
	if a.old != nil {
		restart.Old = a.old
		report.From = infoOf(a.old)
	}
	next, r := restart.Run(ctx)
	defer func() { a.passage.close() }() // if the old one did not need it
	report.To = infoOf(a.next)
	report.Outcome, report.FailedStep, report.Reason = client.Outcome(r.Outcome), string(r.Failed), r.Reason
	for _, st := range r.Steps {
		report.Steps = append(report.Steps, client.Step{Name: string(st.Name), Began: st.Began, Took: st.Took, Note: st.Note, Error: st.Error})
	}
	if r.Outcome == handover.Failed && a.next != nil {
		<-a.next.retired // the next start finds nothing of this one
	}
	close(a.done)
	// When the old one serves this is not put off until the new one has left, which
	// may take its whole drain: the old one could end meanwhile.
	s.do(func() error { s.decided(a, next != nil, report); return nil })
	if next == nil && a.next != nil {
		<-a.next.retired // it was told to end: its output is complete then
		report.Output = s.logs.tail(a.next.number, outputLines)
		report.Lost, report.LostMore = s.lostWith(a.next)
		report.Steps = append(report.Steps, a.next.movedBack()...)
	}
	a.next.endJournal()
	if next != nil && a.old != nil {
		<-a.old.retired
		report.Drain = &a.old.drain
		report.Steps = append(report.Steps, a.old.left(report.Steps[len(report.Steps)-1].Note))
	}
	report.Took = time.Since(report.Began)
	s.finish(a, report)
}

// leaveBy is the passage of the old generation.
func (a *attempt) leaveBy() passage {
	if a.moved {
		return a.passage
	}
	return a.old.opened(context.Background(), a.next)
}

// finish gives the report to everybody. A first start is no restart.
func (s *Service) finish(a *attempt, report client.Report) {
	if a.old != nil || a.reply != nil || report.Outcome != client.Done {
		s.do(func() error {
			s.mu.Lock()
			s.view.last = &report
			s.mu.Unlock()
			return nil
		})
		s.bus.publish(client.Event{Kind: client.EventReport, Report: &report})
	}
	if a.reply != nil {
		a.reply <- report
	}
}

func infoOf(g *generation) *client.Generation {
	if g == nil {
		return nil
	}
	info := g.info()
	return &info
}

// progress tells of a step.
func (s *Service) progress(a *attempt, st handover.Step) {
	e := client.Event{Kind: client.EventStep, Ended: st.Ended, Step: &client.Step{
		Name: string(st.Name), Began: st.Began, Took: st.Took, Note: st.Note, Error: st.Error,
	}}
	if a.next != nil {
		e.Generation, e.PID = a.next.number, a.next.process.PID
	}
	s.bus.publish(e)
	s.do(func() error { s.cast(a, st); return nil })
}

// cast gives the generations of an attempt the roles that follow from a step.
func (s *Service) cast(a *attempt, st handover.Step) {
	failed := st.Error != ""
	switch {
	case st.Name == handover.StepTrial && !st.Ended:
		s.become(a.next, client.RoleTrial)
	case st.Name == handover.StepSwitch && st.Ended && !failed:
		s.become(a.next, client.RoleServing)
		if a.old != nil {
			s.become(a.old, client.RolePaused)
		}
	case st.Name == handover.StepRollback && !st.Ended:
		s.become(a.next, client.RoleEnding)
	case st.Name == handover.StepRollback && st.Ended && a.old != nil && a.old.Err() == nil:
		s.become(a.old, client.RoleServing)
	}
}

// decided is the loop's part of the end of an attempt.
func (s *Service) decided(a *attempt, serves bool, r client.Report) {
	s.try = nil
	if s.view.state == client.Stopping {
		if serves {
			a.next.leave(handover.Stop, s.config.DrainTimeout)
		}
		s.endIfGone()
		return
	}
	reason := r.Reason
	if !serves && a.next != nil {
		s.sockets.drop(func(_ string, by int) bool { return by == a.next.number })
	}
	switch {
	case serves:
		s.mu.Lock()
		if a.old != nil || a.reply != nil {
			s.view.restarts++
		}
		s.view.current = a.next
		s.mu.Unlock()
		s.program = a.program
		s.sockets.drop(func(name string, _ int) bool { return !a.next.wants(name) })
		if !a.next.Steerable() {
			s.become(a.next, client.RoleServing)
		}
		s.enter(up, "")
		if a.old != nil {
			s.crashes.served(a.old.servedFor())
			s.become(a.old, client.RoleDraining)
			a.old.makeWay(s.config.DrainTimeout, a.leaveBy)
		}
		if !slices.Contains(s.view.alive, a.next) {
			s.lost(a.next) // it was seen to end before it was the one that serves
		}
	case r.Outcome == client.RolledBack && a.old.Err() == nil:
		s.mu.Lock()
		s.view.rolledBack++
		s.mu.Unlock()
		s.enter(back, "")
		s.mu.Lock()
		s.view.since = time.Now().Add(-a.old.servedFor()) // it has served all the time
		s.mu.Unlock()
	default:
		if a.old != nil {
			a.old.leave(handover.Drain, s.config.DrainTimeout) // it lives, but did not resume
		}
		if a.next != nil && a.next.Err() != nil {
			s.exitCode.Store(int32(max(1, a.next.process.ExitCode())))
		}
		s.enter(down, reason)
		s.pause(0)
	}
}
