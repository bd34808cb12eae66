package supervise

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/segue-go/segue/client"
)

// member is a service of the plan with its instances.
type member struct {
	Member
	instances []*instance
	common    *common // nil before the first of them lives
}

// instance is one of the processes that serve side by side as one service. It has
// lives: stopped and started again it is the same. Supervisor.mu guards it.
type instance struct {
	name     string // of the service for the first one, with ".2" … for the others
	service  string // that it is one of
	member   *member
	life     *life         // nil when it does not live
	last     client.Status // how the last life ended
	exitCode int           // likewise
	past     *Service      // of the last life, for its logs; nil if there was none
	stray    bool          // the plan does not name it
	byHand   bool          // it does not live because nobody has started it, or somebody has stopped it
}

// life of an instance is its Service from New to the end of Run.
type life struct {
	service *Service
	cancel  context.CancelFunc
	begun   bool          // Run was called: what it depends on is ready
	done    chan struct{} // closed when it is over
}

// add makes a member of m. Its instances do not live yet.
func (s *Supervisor) add(m Member) *member {
	added := &member{Member: m}
	for n := range max(1, m.Instances) {
		added.instances = append(added.instances, s.another(added, n))
	}
	return added
}

// wanted are those of the instances that are to live.
func (s *Supervisor) wanted(all []*instance) []*instance {
	return slices.DeleteFunc(slices.Clone(all), func(i *instance) bool { return i.member.Manual && !s.survives(i) || s.rests(i) })
}

// runnable says what is wrong with the programs of instances that are to be started.
func (s *Supervisor) runnable(all []*instance) error {
	var errs []error
	for _, i := range all {
		if !s.survives(i) {
			_, err := prepared(s.config(i, i.member.Member), "")
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// conceiveAll makes the Services of the instances, or of none of them. First of those
// that live still, side by side, since each must wait until its generation has found
// its new supervisor, and since they have the sockets.
func (s *Supervisor) conceiveAll(all []*instance) error {
	errs := make([]error, len(all))
	var adoptions sync.WaitGroup
	for n, i := range all {
		if s.survives(i) {
			adoptions.Go(func() { errs[n] = s.conceive(i) })
		}
	}
	adoptions.Wait()
	for n, i := range all {
		if i.life == nil && errs[n] == nil {
			errs[n] = s.conceive(i)
		}
	}
	err := errors.Join(errs...)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, i := range all {
			if i.life != nil {
				i.life.service.Close()
				i.life = nil
			}
		}
	}
	return err
}

// strays are instances that the plan does not name, and that live still: the file was
// changed after their supervisor was killed. They are members' until they have ended.
func (s *Supervisor) strays() (all []*instance) {
	named := map[string]bool{}
	for _, i := range s.instances() {
		named[i.name] = true
	}
	files, _ := filepath.Glob(memoryFile(filepath.Join(s.plan.Dir, "*")))
	for _, f := range files {
		name := filepath.Base(filepath.Dir(f))
		old, err := recall(filepath.Dir(f))
		if err != nil || named[name] || !old.alive() {
			continue
		}
		i := s.another(s.familyOf(name, old.Planned), 0)
		i.name, i.last.Service, i.stray = name, name, true
		i.member.instances = append(i.member.instances, i)
		all = append(all, i)
	}
	return all
}

// familyOf is the member that an instance which is not in the plan belongs to: one that
// had more instances, or else one of its own.
func (s *Supervisor) familyOf(name string, planned Config) *member {
	for _, m := range s.members {
		service, number, _ := strings.Cut(strings.TrimPrefix(name, m.Name), ".")
		if n, err := strconv.Atoi(number); service == "" && err == nil && name == instanceName(m.Name, n-1) {
			return m
		}
	}
	planned.Name, planned.RuntimeDir = name, ""
	m := &member{Member: Member{Config: planned}}
	s.members = append(s.members, m)
	return m
}

// survives says whether a generation of an instance has outlived its supervisor.
func (s *Supervisor) survives(i *instance) bool {
	return survives(filepath.Join(s.plan.Dir, i.name))
}

// rests says whether an instance does not live, and is not to, because that is how
// the supervisor before this one has left it.
func (s *Supervisor) rests(i *instance) bool {
	old, err := recall(filepath.Join(s.plan.Dir, i.name))
	if err != nil || old == nil || old.Ended == nil {
		return false
	}
	i.last, i.byHand = *old.Ended, old.ByHand
	return true
}

// another is instance n of a member, counted from 0.
func (s *Supervisor) another(m *member, n int) *instance {
	name := instanceName(m.Name, n)
	return &instance{name: name, service: m.Name, member: m, byHand: m.Manual, last: client.Status{
		Service: name, State: client.Stopped, Since: time.Now(), Sockets: []client.Socket{}, Generations: []client.Generation{},
	}}
}

// config is that of the service as this instance has it.
func (s *Supervisor) config(i *instance, m Member) Config {
	c := m.Config
	c.Name, c.RuntimeDir = i.name, filepath.Join(s.plan.Dir, i.name)
	return c
}

// conceive makes the Service of a new life, and opens its sockets, or holds those
// of an instance that lives already.
func (s *Supervisor) conceive(i *instance) error {
	s.mu.Lock()
	shared, err := i.member.share(s)
	config := s.config(i, i.member.Member)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	service, err := newService(config, s, shared)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i.life = &life{service: service, done: make(chan struct{})}
	return nil
}

// share is what the instances of m have in common. The caller holds Supervisor.mu.
func (m *member) share(s *Supervisor) (*common, error) {
	if m.common != nil && !m.common.over() {
		return m.common, nil
	}
	var err error
	m.common, err = newCommon(origin{s, m.Name})
	return m.common, err
}

// live begins the life of an instance that was conceived, unless it was stopped
// meanwhile. What goes on from an earlier supervisor lives also when everything is
// to stop: it has to be ended. The caller holds mu.
func (s *Supervisor) live(i *instance) {
	l := i.life
	if l == nil {
		return
	}
	if s.stopping && !l.service.adopted {
		l.service.Close()
		i.life = nil
		return
	}
	i.byHand, l.begun = false, l.service.adopted
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	if missing := s.missing(i.member); len(missing) > 0 && !l.service.adopted {
		s.bus.publish(client.Event{Service: i.name, Kind: client.EventState, State: client.Waiting, Text: "for " + list(missing)})
	}
	s.lives.Go(func() {
		defer close(l.done)
		defer cancel()
		if s.awaitDependencies(ctx, i) {
			l.service.Run(ctx) // how it ended is its status
		} else {
			l.service.Close()
		}
		s.mu.Lock()
		i.last, i.exitCode, i.past, i.life = l.service.Status(), l.service.ExitCode(), l.service, nil
		if !l.begun {
			i.last.State, i.last.Since = client.Stopped, time.Now()
		}
		if !s.stopping {
			s.leaveNote(i)
		}
		s.mu.Unlock()
		s.tell()
	})
}

// catchUp makes what goes on from an earlier supervisor what the plan says now, as a
// reload does.
func (s *Supervisor) catchUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		for _, i := range m.instances {
			if i.stray {
				s.lives.Go(func() { s.remove(i) })
			}
		}
		n := slices.IndexFunc(m.instances, func(i *instance) bool { return !i.stray && i.life != nil && i.life.service.stale })
		if n < 0 {
			continue
		}
		before := m.Member
		before.Config = m.instances[n].life.service.before
		before.Name, before.RuntimeDir = m.Name, m.RuntimeDir
		s.lives.Go(func() { s.changeFrom(m, before) })
	}
}

// changeFrom changes a member that is as before still, and not as it says.
func (s *Supervisor) changeFrom(m *member, before Member) {
	s.acting.Lock()
	defer s.acting.Unlock()
	s.mu.Lock()
	wanted := m.Member
	m.Member = before
	s.mu.Unlock()
	for _, r := range s.change(m, wanted) {
		if r.Outcome == client.Broken {
			s.problem(fmt.Errorf("%s goes on as it was before its file was changed: %s", r.Service, r.Reason))
		}
	}
}

// remove ends a stray.
func (s *Supervisor) remove(i *instance) {
	s.acting.Lock()
	defer s.acting.Unlock()
	s.stopInstances(context.Background(), []*instance{i}, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	m := i.member
	m.instances = slices.DeleteFunc(slices.Clone(m.instances), func(o *instance) bool { return o == i })
	s.members = slices.DeleteFunc(slices.Clone(s.members), func(o *member) bool { return len(o.instances) == 0 })
}

// leaveNote tells the next supervisor that an instance does not live. The caller
// holds mu.
func (s *Supervisor) leaveNote(i *instance) {
	last := i.last
	err := memory{Ended: &last, ByHand: i.byHand, Number: i.past.number, Previous: i.past.previous}.keep(filepath.Join(s.plan.Dir, i.name))
	if err != nil {
		s.bus.publish(client.Event{Service: i.name, Kind: client.EventProblem, Text: err.Error()})
	}
}

// awaitDependencies returns true when everything that the instance depends on is
// ready, and false when ctx has ended.
func (s *Supervisor) awaitDependencies(ctx context.Context, i *instance) bool {
	for {
		s.mu.Lock()
		missing, changed := s.missing(i.member), s.changed
		ready := i.life.service.adopted || ctx.Err() == nil && len(missing) == 0
		i.life.begun = ready
		s.mu.Unlock()
		if ready || ctx.Err() != nil {
			return ready
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// missing is what m depends on and is not ready. The caller holds mu.
func (s *Supervisor) missing(m *member) (names []string) {
	for _, d := range m.DependsOn {
		for _, other := range s.members {
			if other.Name == d && !s.serves(other) {
				names = append(names, d)
			}
		}
	}
	return names
}

// serves says whether all instances of m do. The caller holds mu.
func (s *Supervisor) serves(m *member) bool {
	for _, i := range m.instances {
		if i.life == nil || !i.life.begun {
			return false
		}
		if state := i.life.service.Status().State; state != client.Serving && state != client.Restarting {
			return false
		}
	}
	return true
}

// list is names in a sentence.
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
