package supervise

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/segue-go/segue/client"
)

// Restart restarts a service, one instance after the other. When one of them is
// rolled back those before it go back as well. "" is the only service.
func (s *Supervisor) Restart(ctx context.Context, service string, r client.RestartRequest) (client.Report, error) {
	return s.each("restart", service, func(sv *Service) (client.Report, error) { return sv.Restart(ctx, r) })
}

// Rollback has the version before the present one serve again.
func (s *Supervisor) Rollback(ctx context.Context, service string) (client.Report, error) {
	return s.each("rollback", service, func(sv *Service) (client.Report, error) { return sv.Rollback(ctx) })
}

// each does something with every instance of a service, one after the other. An
// error means that nothing was begun with any of them.
func (s *Supervisor) each(action, service string, do func(*Service) (client.Report, error)) (client.Report, error) {
	all, err := s.find(service)
	if err != nil {
		return client.Report{}, err
	}
	services := make([]*Service, len(all))
	for n, i := range all {
		if services[n], err = s.running(i); err != nil {
			return client.Report{}, err
		}
	}
	var parts []client.Report
	for n, sv := range services {
		report, err := do(sv)
		if err != nil && n == 0 {
			return client.Report{}, err
		}
		if err != nil {
			report = client.Report{Service: sv.name, Action: action, Outcome: client.Broken, Reason: err.Error(), Began: time.Now(), Steps: []client.Step{}}
		}
		parts = append(parts, report)
		if report.Outcome != client.Done {
			for _, before := range slices.Backward(services[:n]) {
				if back, undone := before.undo(parts); undone {
					parts = append(parts, back)
				}
			}
			break
		}
	}
	return sum(action, all[0].service, parts), nil
}

// undo rolls a service back if one of these restarts has brought another version.
func (s *Service) undo(done []client.Report) (client.Report, bool) {
	brought := false
	s.do(func() error {
		brought = slices.ContainsFunc(done, func(r client.Report) bool {
			return r.Service == s.name && r.To != nil && r.To.Number == s.recipe.Proven.Number && s.previous != nil
		})
		return nil
	})
	if !brought {
		return client.Report{}, false
	}
	report, err := s.Rollback(context.Background())
	return report, err == nil
}

// running is the service of an instance that is not waiting.
func (s *Supervisor) running(i *instance) (*Service, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case i.life == nil:
		return nil, &client.Error{Message: fmt.Sprintf("%s is %s", i.name, i.last.State), Hint: "start it: segue start " + i.member.Name}
	case !i.life.begun:
		return nil, &client.Error{Message: fmt.Sprintf("%s waits for %s", i.name, list(s.missing(i.member))), Hint: "it is started when that is ready"}
	}
	return i.life.service, nil
}

// Start starts a service that is stopped or has failed, and returns when it serves
// or has failed again.
func (s *Supervisor) Start(ctx context.Context, service string) (client.Report, error) {
	s.acting.Lock()
	defer s.acting.Unlock()
	all, err := s.find(service)
	if err != nil {
		return client.Report{}, err
	}
	events, cancel := s.bus.subscribe()
	defer cancel()
	began := time.Now()
	if err := s.revive(all); err != nil {
		return client.Report{}, err
	}
	var parts []client.Report
	for _, i := range all {
		parts = append(parts, s.awaitStart(ctx, i, began, events))
	}
	return sum("start", all[0].service, parts), nil
}

// revive begins a new life of those of the instances that have none.
func (s *Supervisor) revive(all []*instance) error {
	service := all[0].service
	s.mu.Lock()
	resting := slices.DeleteFunc(slices.Clone(all), func(i *instance) bool { return i.life != nil })
	missing, stopping := s.missing(all[0].member), s.stopping
	s.mu.Unlock()
	switch {
	case stopping:
		return &client.Error{Message: "the supervisor is about to end"}
	case len(resting) == 0:
		return &client.Error{Message: service + " runs already", Hint: "segue status shows how it is"}
	case len(missing) > 0:
		return &client.Error{Message: fmt.Sprintf("cannot start %s: it depends on %s, which is not ready", service, list(missing)), Hint: "start that first: segue start " + missing[0]}
	}
	if err := s.conceiveAll(resting); err != nil {
		return refusal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range resting {
		s.live(i)
	}
	return nil
}

// awaitStart returns when the instance serves, or its life is over.
func (s *Supervisor) awaitStart(ctx context.Context, i *instance, began time.Time, events <-chan client.Event) client.Report {
	report := client.Report{Service: i.name, Action: "start", Outcome: client.Done, Began: began, Steps: []client.Step{}}
	for {
		s.mu.Lock()
		st := s.status(i)
		s.mu.Unlock()
		report.Took = time.Since(began)
		switch {
		case st.State == client.Serving || st.State == client.Restarting:
			for _, g := range st.Generations {
				if g.Role == client.RoleServing {
					report.To = &g
				}
			}
			return report
		case st.State == client.Failed || st.State == client.Stopped || ctx.Err() != nil:
			report.Outcome, report.Reason = client.Broken, st.Reason
			return report
		}
		select {
		case <-events:
		case <-ctx.Done():
		}
	}
}

// Stop stops a service, and returns when its last generation is gone; the
// supervisor stays, so that it can be started again. "" stops all of them, those
// that depend on others first, and the supervisor ends.
func (s *Supervisor) Stop(ctx context.Context, service string) (client.Report, error) {
	if service == "" {
		return s.stopAll(ctx)
	}
	all, err := s.find(service)
	if err != nil {
		return client.Report{}, err
	}
	if !slices.ContainsFunc(all, func(i *instance) bool { return s.lived(i) }) {
		return client.Report{}, &client.Error{Message: fmt.Sprintf("%s does not run", all[0].service), Hint: "segue status shows how it is"}
	}
	return sum("stop", all[0].service, s.stopInstances(ctx, all, true)), nil
}

// lived says whether an instance has a life to end.
func (s *Supervisor) lived(i *instance) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return i.life != nil
}

// stopInstances stops those that live, side by side.
func (s *Supervisor) stopInstances(ctx context.Context, all []*instance, byHand bool) []client.Report {
	parts := make([]client.Report, len(all))
	var stops sync.WaitGroup
	for n, i := range all {
		stops.Go(func() { parts[n] = s.stop(ctx, i, byHand) })
	}
	stops.Wait()
	return slices.DeleteFunc(parts, func(r client.Report) bool { return r.Service == "" })
}

// stop returns when the life of an instance is over.
func (s *Supervisor) stop(ctx context.Context, i *instance, byHand bool) client.Report {
	s.mu.Lock()
	l, dir := i.life, filepath.Join(s.plan.Dir, i.name)
	if l != nil && l.cancel == nil { // it was conceived a moment ago
		if l.service.adopted {
			s.live(i)
		} else {
			l.service.Close()
			i.life, l = nil, nil
		}
	}
	i.byHand = i.byHand || byHand
	begun := l != nil && l.begun
	s.mu.Unlock()
	if l == nil {
		if !byHand {
			forget(dir)
		}
		return client.Report{}
	}
	report := client.Report{Service: i.name, Action: "stop", Outcome: client.Done, Began: time.Now(), Steps: []client.Step{}}
	if begun {
		if r, err := l.service.Stop(ctx); err == nil {
			report = r
		}
	}
	l.cancel()
	select {
	case <-l.done:
		if !byHand { // it is not wanted any more: one that is called so later is another one
			forget(dir)
		}
	case <-ctx.Done():
	}
	return report
}

// stopAll stops everything: a service when those that depend on it have ended.
func (s *Supervisor) stopAll(ctx context.Context) (client.Report, error) {
	s.mu.Lock()
	s.stopping = true
	members := make([]member, len(s.members)) // as they are now
	for n, m := range s.members {
		members[n] = member{Member: m.Member, instances: slices.Clone(m.instances)}
	}
	s.mu.Unlock()
	s.upstream.stopping()
	ended := make([]chan struct{}, len(members))
	for n := range members {
		ended[n] = make(chan struct{})
	}
	parts := make([][]client.Report, len(members))
	var stops sync.WaitGroup
	for n, m := range members {
		stops.Go(func() {
			defer close(ended[n])
			for o := n + 1; o < len(members); o++ { // who depends on m stands behind it, but for a circle that a reload has left
				if slices.Contains(members[o].DependsOn, m.Name) {
					<-ended[o]
				}
			}
			parts[n] = s.stopInstances(ctx, m.instances, false)
		})
	}
	stops.Wait()
	s.tell()
	return sum("stop", "", slices.Concat(parts...)), nil
}

// Force ends everything without waiting any longer.
func (s *Supervisor) Force() {
	s.mu.Lock()
	s.stopping = true
	var services []*Service
	for _, i := range s.instances() {
		switch {
		case i.life == nil:
		case i.life.begun:
			services = append(services, i.life.service)
		case i.life.cancel != nil:
			i.life.cancel()
		}
	}
	s.mu.Unlock()
	for _, sv := range services {
		go sv.Force()
	}
	s.tell()
}

// sum is one report of several: of the worst outcome, with its reason. One alone
// is its own sum.
func sum(action, service string, parts []client.Report) client.Report {
	if len(parts) == 1 {
		return parts[0]
	}
	worst := []client.Outcome{client.Done, client.Forced, client.RolledBack, client.Broken}
	r := client.Report{Service: service, Action: action, Outcome: client.Done, Began: time.Now(), Steps: []client.Step{}, Parts: parts}
	for _, p := range parts {
		if p.Began.Before(r.Began) {
			r.Began = p.Began
		}
		if slices.Index(worst, p.Outcome) > slices.Index(worst, r.Outcome) {
			r.Outcome, r.FailedStep, r.Reason = p.Outcome, p.FailedStep, p.Service+": "+p.Reason
		}
	}
	r.Took = time.Since(r.Began)
	return r
}

// RestartAll restarts every service that runs, one after the other in the order in
// which they are started, and ends with the first that cannot be. It is what a
// signal asks for, so systemd is told that it goes on.
func (s *Supervisor) RestartAll(ctx context.Context) error {
	defer s.upstream.reloading()()
	s.mu.Lock()
	var first []*instance
	for _, m := range s.members {
		first = append(first, m.instances[0])
	}
	s.mu.Unlock()
	for _, i := range first {
		if _, err := s.running(i); err != nil {
			continue
		}
		switch r, err := s.Restart(ctx, i.service, client.RestartRequest{}); {
		case err != nil:
			return err
		case r.Outcome != client.Done:
			return nil // the report has been told
		}
	}
	return nil
}
