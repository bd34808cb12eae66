package supervise

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
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
	member   *member
	life     *life         // nil when it does not live
	last     client.Status // how the last life ended
	exitCode int           // likewise
	past     *Service      // of the last life, for its logs; nil if there was none
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

// conceiveAll makes the Services of those of the instances that are to live. First
// those that live still, side by side, since each must wait until its generation
// has found its new supervisor, and since they have the sockets.
func (s *Supervisor) conceiveAll(all []*instance) error {
	all = slices.DeleteFunc(slices.Clone(all), func(i *instance) bool { return i.member.Manual && !s.survives(i) || s.rests(i) })
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
		for _, i := range all {
			if i.life != nil {
				i.life.service.Close()
				i.life = nil
			}
		}
	}
	return err
}

// survives says whether a generation of an instance has outlived its supervisor.
func (s *Supervisor) survives(i *instance) bool {
	old, err := recall(filepath.Join(s.plan.Dir, i.name))
	return err == nil && old.alive()
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
	return &instance{name: name, member: m, byHand: m.Manual, last: client.Status{
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

// live begins the life of an instance that was conceived. The caller holds mu.
func (s *Supervisor) live(i *instance) {
	l := i.life
	i.byHand = false
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	if missing := s.missing(i.member); len(missing) > 0 && !l.service.adopted {
		s.bus.publish(client.Event{Service: i.name, Kind: client.EventState, State: client.Waiting, Text: "for " + list(missing)})
	}
	s.lives.Go(func() {
		defer close(l.done)
		defer cancel()
		if s.awaitDependencies(ctx, i) {
			if l.service.stale {
				s.lives.Go(func() { s.catchUp(i, l) })
			}
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

// catchUp changes what goes on from an earlier supervisor to what the plan says now.
func (s *Supervisor) catchUp(i *instance, l *life) {
	s.mu.Lock()
	config := s.config(i, i.member.Member)
	s.mu.Unlock()
	if _, err := l.service.Change(context.Background(), config); err != nil {
		s.problem(fmt.Errorf("%s goes on as it was before its file was changed: %w", i.name, err))
	}
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
		ready := ctx.Err() == nil && (len(missing) == 0 || i.life.service.adopted)
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
