package supervise

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/segue-go/segue/client"
)

// member is a service of the plan with its instances.
type member struct {
	Member
	instances []*instance
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

// add makes a member of m, with the sockets of those instances that are to be
// started.
func (s *Supervisor) add(m Member) (*member, error) {
	added := &member{Member: m}
	for n := range max(1, m.Instances) {
		added.instances = append(added.instances, s.another(added, n))
	}
	if m.Manual {
		return added, nil
	}
	for _, i := range added.instances {
		if s.rests(i) {
			continue
		}
		if err := s.conceive(i); err != nil {
			for _, j := range added.instances {
				if j.life != nil {
					j.life.service.Close()
				}
			}
			return nil, err
		}
	}
	return added, nil
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
	name := m.Name
	if n > 0 {
		name = fmt.Sprintf("%s.%d", m.Name, n+1)
	}
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
	var shared *common
	for _, other := range i.member.instances {
		if other.life != nil {
			shared = other.life.service.common
		}
	}
	service, err := newService(s.config(i, i.member.Member), s, shared)
	if err != nil {
		return err
	}
	i.life = &life{service: service, done: make(chan struct{})}
	return nil
}

// live begins the life of an instance that was conceived. The caller holds mu.
func (s *Supervisor) live(i *instance) {
	l := i.life
	i.byHand = false
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	if missing := s.missing(i.member); len(missing) > 0 {
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
		if ctx.Err() == nil && len(missing) == 0 {
			i.life.begun = true
		}
		s.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return false
		case len(missing) == 0:
			return true
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
