package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/launch"
)

// Supervisor is the services of a plan under one roof: they have one directory,
// one control API and one end. It owns a goroutine for each instance that lives,
// and one that hears of their states; Run joins them.
type Supervisor struct {
	home  *home
	bus   *bus
	began time.Time
	lives sync.WaitGroup

	acting sync.Mutex // held by whoever changes which services there are, or upgrades

	readers int // group id; -1 for none

	mu       sync.Mutex
	plan     Plan
	members  []*member     // in the order in which they are started
	changed  chan struct{} // closed, and replaced, when a state has changed
	stopping bool
	stopped  chan struct{} // closed when everything has ended after a stop
	closed   bool
}

// Open checks p, makes and locks its directory and opens the sockets of its
// services. Nothing is started. An error changes nothing that runs.
func Open(p Plan) (_ *Supervisor, err error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	s := &Supervisor{plan: p, bus: newBus(), began: time.Now(), changed: make(chan struct{}), stopped: make(chan struct{})}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.home, err = openHome(p.Name, p.Dir); err != nil {
		return nil, err
	}
	if s.readers = -1; p.Readers != "" {
		if _, s.readers, err = launch.Owner("", p.Readers); err != nil {
			return nil, err
		}
	}
	ordered, err := p.order()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, m := range ordered {
		added, err := s.add(m)
		errs = append(errs, err)
		if err == nil {
			s.members = append(s.members, added)
		}
	}
	return s, errors.Join(errs...)
}

// Close releases what Open took, if Run was never called.
func (s *Supervisor) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	for _, m := range s.members {
		for _, i := range m.instances {
			if i.life != nil {
				i.life.service.Close()
			}
		}
	}
	s.bus.close()
	if s.home != nil {
		s.home.close()
	}
	return nil
}

// Run starts the services in order and supervises them until it was told to stop
// and all have ended, or all have ended by themselves. It returns nil unless one
// has failed. It must be called once.
func (s *Supervisor) Run(ctx context.Context) error {
	defer s.Close()
	if os.Getpid() == 1 {
		stop := reapOrphans()
		defer stop()
	}
	events, unsubscribe := s.bus.subscribe()
	var hearing sync.WaitGroup
	hearing.Go(func() {
		for e := range events {
			if e.Kind == client.EventState || e.Kind == client.EventDropped {
				s.tell()
			}
		}
	})
	defer hearing.Wait()
	defer unsubscribe()
	s.mu.Lock()
	for _, m := range s.members {
		for _, i := range m.instances {
			if i.life != nil {
				s.live(i)
			}
		}
	}
	s.mu.Unlock()
	gone := ctx.Done()
	for {
		over, changed := s.over()
		if over {
			break
		}
		select {
		case <-changed:
		case <-gone:
			gone = nil
			go s.stopAll(context.Background())
		}
	}
	s.lives.Wait()
	close(s.stopped)
	return s.failure()
}

// tell has everybody look again who waits for a state.
func (s *Supervisor) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// over says whether there is nothing left to supervise: a service that somebody
// has stopped may be started again, unless everything was told to stop.
func (s *Supervisor) over() (over bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	idle := false
	for _, m := range s.members {
		for _, i := range m.instances {
			if i.life != nil {
				return false, s.changed
			}
			idle = idle || i.byHand
		}
	}
	return s.stopping || !idle, s.changed
}

// failure names the services that have failed.
func (s *Supervisor) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, i := range s.instances() {
		if i.last.State == client.Failed {
			errs = append(errs, errors.New(i.last.Reason))
		}
	}
	return errors.Join(errs...)
}

// instances are those of all services. The caller holds mu.
func (s *Supervisor) instances() (all []*instance) {
	for _, m := range s.members {
		all = append(all, m.instances...)
	}
	return all
}

// ExitCode is what a supervisor that is PID 1 of a container passes on: that of
// the first service that did not end with 0.
func (s *Supervisor) ExitCode() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances() {
		if i.exitCode != 0 {
			return i.exitCode
		}
	}
	return 0
}

// Overview is the present state. Any goroutine may ask.
func (s *Supervisor) Overview() client.Overview {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := client.Overview{
		Name: s.plan.Name, PID: os.Getpid(), Version: s.plan.Version, File: s.plan.File, Since: s.began,
		Services: []client.Status{},
	}
	for _, i := range s.instances() {
		o.Services = append(o.Services, s.status(i))
	}
	return o
}

// status is that of the instance's life, or how the last one ended. The caller
// holds mu.
func (s *Supervisor) status(i *instance) client.Status {
	switch {
	case i.life == nil:
		return i.last
	case !i.life.begun:
		st := i.life.service.Status()
		st.State = client.Waiting
		if missing := s.missing(i.member); len(missing) > 0 {
			st.Reason = "for " + list(missing)
		}
		return st
	}
	return i.life.service.Status()
}

// Subscribe returns the events of all services from now on; the channel is closed
// by cancel, or at the end of the supervisor.
func (s *Supervisor) Subscribe() (events <-chan client.Event, cancel func()) {
	return s.bus.subscribe()
}

// Readers is the group whose members may read the control API; -1 for none.
func (s *Supervisor) Readers() int { return s.readers }

// Reader says whether a user may read the control API that is neither the
// supervisor's nor root.
func (s *Supervisor) Reader(_ int, groups []int) bool {
	return s.readers >= 0 && slices.Contains(groups, s.readers)
}

// find is the instances that a user means: of a service, a single one, or with ""
// those of the only service.
func (s *Supervisor) find(name string) ([]*instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, m := range s.members {
		names = append(names, m.Name)
		if m.Name == name || name == "" && len(s.members) == 1 {
			return slices.Clone(m.instances), nil
		}
		for n, i := range m.instances {
			if name == i.name || name == fmt.Sprintf("%s.%d", m.Name, n+1) {
				return []*instance{i}, nil
			}
		}
	}
	if name == "" {
		return nil, &client.Error{Message: "it is not clear which service is meant", Hint: "say which one: " + list(names)}
	}
	return nil, &client.Error{Message: fmt.Sprintf("there is no service %q", name), Hint: "there is " + list(names)}
}
