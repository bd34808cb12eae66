package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// outputLines is how much of a failed generation's output a report shows.
const outputLines = 10

// attempt is one start or restart under way. The loop holds at most one.
type attempt struct {
	action  string      // for the report
	old     *generation // nil when nothing serves
	recipe  recipe
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
	return s.replace(ctx, "restart", func() (recipe, error) {
		return prepared(s.recipe.Config, cmp.Or(r.Binary, s.recipe.Path))
	})
}

// Rollback is Restart with what the generation before the present one was started
// with, its program above all, also when another file has taken its place. Only
// generations that have served count, and of several that were started alike the
// first.
func (s *Service) Rollback(ctx context.Context) (client.Report, error) {
	return s.replace(ctx, "rollback", func() (recipe, error) {
		if s.previous == nil {
			return recipe{}, &client.Error{Message: fmt.Sprintf("cannot roll %s back: no other version has served before this one", s.name),
				Hint: "segue restart --binary FILE puts another one in its place"}
		}
		return s.previous.again(s.dir)
	})
}

// Change is Restart with another configuration, whose sockets are opened first.
// What is not a matter of the process is changed without one: the report has no
// steps then.
func (s *Service) Change(ctx context.Context, c Config) (client.Report, error) {
	began := time.Now()
	alike := false
	err := s.do(func() error {
		if alike = c.startsLike(s.recipe.Config); alike {
			s.configure(c)
		}
		return nil
	})
	if err != nil {
		return client.Report{}, err
	}
	if alike {
		return client.Report{Service: s.name, Action: "change", Outcome: client.Done, Began: began, Took: time.Since(began), Steps: []client.Step{}}, nil
	}
	undo, err := s.common.sockets.open(c.Listen)
	if err != nil {
		return client.Report{}, err
	}
	report, err := s.replace(ctx, "restart", func() (recipe, error) { return prepared(c, "") })
	if err != nil || report.Outcome != client.Done {
		undo()
		return report, err
	}
	s.do(func() error {
		if s.planned = c; c.startsLike(s.recipe.Config) { // it was not rolled back while the old one left
			s.configure(c)
		}
		s.remember()
		return nil
	})
	return report, nil
}

// configure is for what concerns the supervisor alone.
func (s *Service) configure(c Config) {
	s.planned = c
	s.recipe.Config = c
	s.mu.Lock()
	s.view.config = c
	s.mu.Unlock()
	s.bound.configured()
}

// replace begins an attempt with what the loop finds to be started, and returns
// its report.
func (s *Service) replace(ctx context.Context, action string, with func() (recipe, error)) (client.Report, error) {
	reply := make(chan client.Report, 1)
	err := s.do(func() error {
		recipe, err := with()
		if err != nil {
			return refusal(err)
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
		s.begin(recipe, action, reply)
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

// refusal is err as the API tells it.
func refusal(err error) error {
	var told *client.Error
	if errors.As(err, &told) {
		return told
	}
	return &client.Error{Message: err.Error()}
}

// begin starts an attempt.
func (s *Service) begin(r recipe, action string, reply chan client.Report) {
	r.file = nil // of an earlier generation
	ctx, cancel := context.WithCancelCause(context.Background())
	a := &attempt{action: action, recipe: r, cancel: cancel, done: make(chan struct{}), reply: reply}
	if g := s.view.current; g != nil && g.Err() == nil && s.view.state == client.Restarting {
		a.old = g
	}
	s.try = a
	s.beside.Go(func() { s.run(ctx, a) })
}

// run is the attempt's goroutine.
func (s *Service) run(ctx context.Context, a *attempt) {
	report := client.Report{Service: s.name, Action: a.action, Began: time.Now()}
	config := a.recipe.Config
	restart := handover.Restart{
		Spawn: func(ctx context.Context) (handover.Generation, error) {
			if ctx.Err() != nil { // stopped while the old one left
				return nil, context.Cause(ctx)
			}
			g, err := s.spawn(a.recipe)
			if err != nil {
				return nil, err
			}
			a.next, g.back = g, a.old
			return g, nil
		},
		Probe:        func(ctx context.Context, _ handover.Generation) error { return scarce(s.probe(ctx, a.next)) },
		ProbeWithin:  config.probesWithin(),
		ReadyTimeout: config.ReadyTimeout, Trial: config.Trial, Probation: config.Probation, MoveWithin: config.DrainTimeout,
		Move: func(ctx context.Context, _ handover.Generation) (note string) {
			a.moved = true
			a.passage, note = a.old.move(ctx, a.next)
			return note
		},
		Progress: func(step handover.Step) { s.progress(a, step) },
	}
	if a.old != nil {
		report.From = infoOf(a.old)
		if a.old.recipe.Config.Speaks != SpeaksNothing && config.Speaks != SpeaksNothing {
			restart.Old = a.old
		} else {
			a.old.leave(handover.Stop, a.old.budget) // it has the address that the new one opens
			<-a.old.retired
		}
	}
	next, r := restart.Run(ctx)
	if next != nil {
		a.next.back = nil // or each would keep all those before it
	}
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
		<-a.old.gone
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

// settle makes what g was started with what the next one is started with. What was
// so before can be rolled back to, if it was something else: what was started
// unasked is not.
func (s *Service) settle(g *generation, unasked bool) {
	before := s.recipe
	s.recipe = g.recipe
	s.recipe.Proven = g.info()
	if before.Config.startsLike(g.recipe.Config) {
		s.recipe.Config = before.Config // the rest may have been changed meanwhile
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.config = s.recipe.Config
	switch {
	case before.same(s.recipe), unasked && before.Proven.Number > 0:
		s.recipe.Proven = before.Proven
		before.file.close()
	case before.Proven.Number > 0:
		if s.previous != nil {
			s.previous.file.close()
		}
		s.previous, s.view.previous = &before, &before.Proven
	}
	programs := []string{s.recipe.Program}
	if s.previous != nil {
		programs = append(programs, s.previous.Program)
	}
	for _, g := range s.view.alive {
		programs = append(programs, g.recipe.Program)
	}
	prune(s.dir, programs)
}

// finish gives the report to everybody. A first start is no restart.
func (s *Service) finish(a *attempt, report client.Report) {
	if a.old != nil || a.reply != nil || report.Outcome != client.Done {
		s.do(func() error {
			s.mu.Lock()
			s.view.last = &report
			s.mu.Unlock()
			if report.Outcome == client.RolledBack && s.stopping == nil {
				s.hooks.tell(a.recipe.Config, notice{Generation: a.number(), Reason: report.Reason, Report: &report}, OnRollback)
			}
			return nil
		})
		s.bus.publish(client.Event{Kind: client.EventReport, Report: &report})
	}
	if a.reply != nil {
		a.reply <- report
	}
}

// number is that of the new generation, 0 if it was not started.
func (a *attempt) number() int {
	if a.next == nil {
		return 0
	}
	return a.next.number
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
	stopping := s.view.state == client.Stopping
	if a.next != nil && (!serves || stopping) {
		a.next.recipe.file.close() // nobody goes back to it
	}
	if stopping {
		if serves {
			s.become(a.next, client.RoleDraining)
			a.next.leave(handover.Stop, a.next.budget)
		}
		s.endIfGone()
		return
	}
	reason := r.Reason
	if !serves && a.next != nil {
		s.common.sockets.drop(func(_ string, by *generation) bool { return by == a.next })
	}
	switch {
	case serves:
		s.mu.Lock()
		if a.old != nil || a.reply != nil {
			s.view.restarts++
		}
		s.view.current = a.next
		s.mu.Unlock()
		s.settle(a.next, a.reply == nil && a.old == nil)
		s.common.sockets.drop(func(name string, _ *generation) bool { return !a.next.wants(name) })
		if !a.next.Steerable() {
			s.become(a.next, client.RoleServing)
		}
		s.enter(up, "")
		if a.old != nil {
			s.crashes.by(a.recipe.Config.Backoff).served(a.old.servedFor())
			if a.old.Err() == nil {
				s.become(a.old, client.RoleDraining)
			}
			a.old.makeWay(a.old.budget, a.leaveBy)
		}
		if !slices.Contains(s.view.alive, a.next) {
			s.lost(a.next) // it was seen to end before it was the one that serves
			s.endIfGone()
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
			if a.old.Err() == nil { // it lives, but did not resume
				s.become(a.old, client.RoleDraining)
			}
			a.old.leave(handover.Drain, a.old.budget)
		}
		if a.next != nil && a.next.Err() != nil {
			s.exitCode.Store(int32(max(1, a.next.process.ExitCode())))
		}
		s.enter(down, reason)
		s.pause(0)
	}
}
