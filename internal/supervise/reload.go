package supervise

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/segue-go/segue/client"
)

// Reload applies the plan's file as it is now: services that are new are started,
// those that are gone are stopped, those that have changed are replaced as by a
// restart, or without one when only the supervisor is concerned; the others are
// not touched. A file with an error, or one whose sockets cannot be opened, changes
// nothing. A service whose new version is rolled back goes on as it was.
//
// For a service, or when there is no file, Reload has the program read its
// configuration again.
func (s *Supervisor) Reload(ctx context.Context, service string) (client.Report, error) {
	defer s.upstream.reloading()()
	if service != "" || !s.readable() {
		return s.each("reload", service, func(sv *Service) (client.Report, error) {
			r := client.Report{Service: sv.name, Action: "reload", Outcome: client.Done, Began: time.Now(), Steps: []client.Step{}}
			err := sv.Reload(ctx)
			r.Took = time.Since(r.Began)
			return r, err
		})
	}
	if !s.acting.TryLock() {
		return client.Report{}, &client.Error{Message: "cannot reload now: services are being started or changed", Hint: "wait until that is over; `segue status` shows it"}
	}
	defer s.acting.Unlock()
	plan, err := s.reread()
	if err != nil {
		return client.Report{}, refusal(err)
	}
	s.setChanging(true)
	defer s.setChanging(false)
	return s.apply(plan)
}

// readable says whether there is a plan to be read again.
func (s *Supervisor) readable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plan.Read != nil
}

// reread is the plan as its file is now. The caller holds acting.
func (s *Supervisor) reread() (Plan, error) {
	plan, err := s.plan.Read()
	if err != nil {
		return plan, err
	}
	plan.Dir, plan.Version, plan.Read = s.plan.Dir, s.plan.Version, s.plan.Read
	switch {
	case plan.Name != s.plan.Name:
		return plan, fmt.Errorf("cannot call a running supervisor %q in place of %q; stop it and start it anew", plan.Name, s.plan.Name)
	case plan.Readers != s.plan.Readers:
		return plan, fmt.Errorf("cannot let group %q read in place of %q while the supervisor runs; stop it and start it anew", plan.Readers, s.plan.Readers)
	}
	return plan, plan.Check()
}

// unchanged says in which way the plan's file is not what runs. The caller holds acting.
func (s *Supervisor) unchanged() error {
	if s.plan.Read == nil {
		return nil
	}
	plan, err := s.reread()
	if err != nil {
		return err
	}
	differs := len(plan.Services) != len(s.members)
	for _, m := range s.members {
		differs = differs || !slices.ContainsFunc(plan.Services, func(o Member) bool { return reflect.DeepEqual(m.Member, o) })
	}
	if differs {
		return fmt.Errorf("cannot go on with %s: it is not what runs; `segue reload` applies it", cmp.Or(plan.File, "a changed plan"))
	}
	return nil
}

func (s *Supervisor) setChanging(now bool) {
	s.mu.Lock()
	s.changing = now
	s.mu.Unlock()
	s.tell()
}

// apply makes what there is what plan says. The caller holds acting.
func (s *Supervisor) apply(plan Plan) (client.Report, error) {
	began := time.Now()
	ordered, err := plan.order()
	if err != nil {
		return client.Report{}, refusal(err)
	}
	s.mu.Lock()
	before := slices.Clone(s.members)
	s.mu.Unlock()
	known := func(name string) *member {
		if n := slices.IndexFunc(before, func(m *member) bool { return m.Name == name }); n >= 0 {
			return before[n]
		}
		return nil
	}

	// What may fail without touching anything that runs comes first.
	var undo []func()
	refuse := func(err error) (client.Report, error) {
		for _, u := range undo {
			u()
		}
		return client.Report{}, refusal(err)
	}
	after := make([]*member, len(ordered))
	for n, m := range ordered {
		if after[n] = known(m.Name); after[n] == nil {
			after[n] = s.add(m)
			if err := s.conceiveAll(s.wanted(after[n].instances)); err != nil {
				return refuse(err)
			}
			undo = append(undo, func() { s.stopInstances(context.Background(), after[n].instances, false) })
		} else if shared := s.sharedBy(after[n]); shared != nil {
			u, err := shared.sockets.open(m.Listen)
			if err != nil {
				return refuse(err)
			}
			undo = append(undo, u)
		}
	}

	r := client.Report{Action: "reload", Began: began}
	s.mu.Lock()
	s.plan = plan
	s.members = slices.Clone(after)
	gone := slices.DeleteFunc(slices.Clone(before), func(m *member) bool { return slices.Contains(after, m) })
	s.members = append(s.members, gone...) // until they have ended
	s.mu.Unlock()
	for _, m := range slices.Backward(gone) {
		r.Parts = append(r.Parts, s.stopInstances(context.Background(), m.instances, false)...)
	}
	s.mu.Lock()
	s.members = slices.Clone(after)
	s.mu.Unlock()
	for n, m := range after {
		switch wanted := ordered[n]; {
		case known(m.Name) == nil:
			r.Parts = append(r.Parts, s.startAdded(m.instances)...)
		case reflect.DeepEqual(m.Member, wanted):
			r.Unchanged = append(r.Unchanged, m.Name)
		default:
			r.Parts = append(r.Parts, s.change(m, wanted)...)
		}
	}
	total := sum("reload", "", append(r.Parts, client.Report{Outcome: client.Done, Began: began}, client.Report{Outcome: client.Done, Began: began}))
	total.Parts, total.Unchanged = r.Parts, r.Unchanged
	return total, nil
}

// sharedBy is what the living instances of a member have in common; nil if none
// lives.
func (s *Supervisor) sharedBy(m *member) *common {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range m.instances {
		if i.life != nil {
			return i.life.service.common
		}
	}
	return nil
}

// startAdded begins the life of those that were conceived.
func (s *Supervisor) startAdded(all []*instance) (parts []client.Report) {
	events, cancel := s.bus.subscribe()
	defer cancel()
	began := time.Now()
	s.mu.Lock()
	all = slices.DeleteFunc(slices.Clone(all), func(i *instance) bool { return i.life == nil })
	for _, i := range all {
		s.live(i)
	}
	s.mu.Unlock()
	for _, i := range all {
		parts = append(parts, s.awaitStart(context.Background(), i, began, events))
	}
	return parts
}

// change gives a member another configuration, one instance after the other. When
// one is rolled back those before it go back as well, and the member's
// configuration is as before: the next reload tries again.
func (s *Supervisor) change(m *member, wanted Member) (parts []client.Report) {
	before := m.Member
	s.mu.Lock()
	m.Member = wanted
	instances := slices.Clone(m.instances)
	s.mu.Unlock()
	shared := s.sharedBy(m)
	for n, i := range instances {
		if n >= max(1, wanted.Instances) {
			parts = append(parts, s.stopInstances(context.Background(), []*instance{i}, false)...)
			continue
		}
		s.mu.Lock()
		l := i.life
		begun := l != nil && l.begun
		s.mu.Unlock()
		switch {
		case l == nil: // it is stopped, and is started with it
		case !begun:
			parts = append(parts, s.reconceive(i))
		default:
			report, err := l.service.Change(context.Background(), s.config(i, wanted))
			if err != nil {
				report = client.Report{Service: i.name, Action: "change", Outcome: client.Broken, Reason: err.Error(), Began: time.Now(), Steps: []client.Step{}}
			}
			parts = append(parts, report)
			if report.Outcome != client.Done {
				return append(parts, s.changeBack(m, before, instances[:n], parts)...)
			}
		}
	}
	s.retain(shared, instances, wanted.Listen)
	return append(parts, s.resize(m)...)
}

// changeBack undoes what change has done to some of the instances.
func (s *Supervisor) changeBack(m *member, before Member, changed []*instance, done []client.Report) (parts []client.Report) {
	s.mu.Lock()
	m.Member = before
	s.mu.Unlock()
	for _, i := range slices.Backward(changed) {
		service, err := s.running(i)
		if err != nil {
			continue
		}
		if back, undone := service.undo(done); undone {
			parts = append(parts, back)
		}
		service.do(func() error { service.planned = s.config(i, before); return nil })
	}
	s.mu.Lock()
	instances := slices.Clone(m.instances)
	s.mu.Unlock()
	s.retain(s.sharedBy(m), instances, before.Listen)
	return parts
}

// retain lets go of the sockets that instances do not want any more. The next
// supervisor is not to look for them.
func (s *Supervisor) retain(shared *common, instances []*instance, wanted []Listen) {
	if shared == nil {
		return
	}
	shared.sockets.retain(wanted)
	for _, i := range instances {
		if service, err := s.running(i); err == nil {
			service.do(func() error { service.remember(); return nil })
		}
	}
}

// resize makes the number of instances what the member says.
func (s *Supervisor) resize(m *member) (parts []client.Report) {
	s.mu.Lock()
	want := max(1, m.Instances)
	m.instances = m.instances[:min(want, len(m.instances))]
	var added []*instance
	for n := len(m.instances); n < want; n++ {
		added = append(added, s.another(m, n))
	}
	m.instances = append(m.instances, added...)
	s.mu.Unlock()
	if err := s.conceiveAll(s.wanted(added)); err != nil {
		return []client.Report{{Service: m.Name, Action: "start", Outcome: client.Broken, Reason: err.Error(), Began: time.Now(), Steps: []client.Step{}}}
	}
	return s.startAdded(added)
}

// reconceive is for an instance that has not begun: it waits with the new
// configuration.
func (s *Supervisor) reconceive(i *instance) client.Report {
	r := client.Report{Service: i.name, Action: "change", Outcome: client.Done, Began: time.Now(), Steps: []client.Step{}}
	s.stop(context.Background(), i, false)
	if err := s.conceive(i); err != nil {
		r.Outcome, r.Reason = client.Broken, err.Error()
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live(i)
	return r
}
