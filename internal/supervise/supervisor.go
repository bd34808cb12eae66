package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	home     *home
	estate   *estate
	upstream *upstream
	bus      *bus
	began    time.Time
	lives    sync.WaitGroup

	acting sync.Mutex // held by whoever changes which services there are, or upgrades

	readers int // group id; -1 for none

	mu       sync.Mutex
	plan     Plan
	members  []*member     // in the order in which they are started
	changed  chan struct{} // closed, and replaced, when a state has changed
	changing bool          // the plan is: a service may not live for a moment
	stopping bool
	more     map[string]func() (*os.File, error) // that an upgrade leaves, too
	warnings error                               // of Open, told when somebody listens
	stopped  chan struct{}                       // closed when everything has ended after a stop
	closed   bool
}

// Open checks p, makes and locks its directory and opens the sockets of its
// services. Nothing is started. An error changes nothing that runs.
func Open(p Plan) (_ *Supervisor, err error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	s := &Supervisor{plan: p, bus: newBus(), began: time.Now(), changed: make(chan struct{}), stopped: make(chan struct{}), more: map[string]func() (*os.File, error){}}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	left, lost := claimEstate()
	s.estate = left
	ordered, err := p.order()
	if err != nil {
		return nil, err
	}
	for _, m := range ordered {
		s.members = append(s.members, s.add(m))
	}
	live := s.wanted(s.instances())
	if err := s.runnable(live); err != nil {
		return nil, err
	}
	var unread error
	s.upstream, unread = openUpstream(func(err error) { s.problem(err) })
	if s.home, err = openHome(p.Name, p.Dir, left.take("lock")); err != nil {
		return nil, err
	}
	if s.readers = -1; p.Readers != "" {
		if _, s.readers, err = launch.Owner("", p.Readers); err != nil {
			return nil, err
		}
		if err := passable(p.Dir); err != nil {
			return nil, fmt.Errorf("cannot let group %s find the control API: %w", p.Readers, err)
		}
	}
	if err := s.conceiveAll(append(s.strays(), live...)); err != nil {
		return nil, err
	}
	for _, name := range s.upstream.drop() {
		lost = errors.Join(lost, fmt.Errorf("socket %q is no service's, and was closed", name))
	}
	s.warnings = errors.Join(lost, unread)
	return s, nil
}

// given is a socket of this instance that is there already: left by the program
// that was executed before, or systemd's.
func (s *Supervisor) given(instance string, l Listen) *os.File {
	if f := s.estate.take(instance + "/socket/" + l.Name); f != nil {
		return f
	}
	names := []string{storeName(instance, l.Name, l.Addr), storeName(instance, l.Name, "")}
	if s.alone(l.Name) {
		names = append(names, l.Name)
	}
	return s.upstream.take(names...)
}

// alone says whether only one service of the plan has a socket of that name.
func (s *Supervisor) alone(socket string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, m := range s.plan.Services {
		if slices.ContainsFunc(m.Listen, func(l Listen) bool { return l.Name == socket }) {
			n++
		}
	}
	return n == 1
}

func (s *Supervisor) problem(err error) {
	if err != nil {
		s.bus.publish(client.Event{Kind: client.EventProblem, Text: err.Error()})
	}
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
	if s.upstream != nil {
		s.upstream.close()
	}
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
	if os.Getpid() == 1 || s.estate != nil { // the program before has children, too
		stop := reapOrphans()
		defer stop()
	}
	events, unsubscribe := s.bus.subscribe()
	var hearing sync.WaitGroup
	hearing.Go(func() { s.hear(events) })
	defer hearing.Wait()
	defer unsubscribe()
	s.estate.close() // nobody wants what is left
	s.problem(s.warnings)
	defer s.upstream.watch(s.answers)()
	s.mu.Lock()
	for _, i := range s.instances() {
		if i.life != nil && i.life.cancel == nil {
			s.live(i)
		}
	}
	s.mu.Unlock()
	s.catchUp()
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
	s.forgetAll()
	return s.failure()
}

// hear follows the states of the services: it has everybody look again who waits
// for one, and tells whoever supervises this supervisor.
func (s *Supervisor) hear(events <-chan client.Event) {
	ready := false
	for e := range events {
		if e.Kind != client.EventState && e.Kind != client.EventReport && e.Kind != client.EventDropped {
			continue
		}
		s.tell()
		line, settled := s.line()
		switch {
		case settled && !ready:
			ready = true
			s.upstream.ready(line)
		default:
			s.upstream.status(line)
		}
	}
}

// line is the state of everything in one line, and whether every service that is
// to be started serves, or is not going to by itself.
func (s *Supervisor) line() (line string, settled bool) {
	services := s.Overview().Services
	settled = !slices.ContainsFunc(services, func(st client.Status) bool {
		return st.State == client.Starting || st.State == client.Waiting || st.State == client.BackingOff
	})
	return summary(services), settled
}

// answers says whether the loop of every service does.
func (s *Supervisor) answers(ctx context.Context) bool {
	s.mu.Lock()
	var services []*Service
	for _, i := range s.instances() {
		if i.life != nil && i.life.begun {
			services = append(services, i.life.service)
		}
	}
	s.mu.Unlock()
	for _, sv := range services {
		done := make(chan struct{})
		go func() { sv.do(func() error { return nil }); close(done) }()
		select {
		case <-done:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// forgetAll is for the end in order: the next supervisor begins anew.
func (s *Supervisor) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances() {
		forget(filepath.Join(s.plan.Dir, i.name))
	}
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
	if s.changing || idle && !s.stopping {
		return false, s.changed
	}
	s.stopping = true // nothing is started any more
	return true, nil
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

// Inherited is a descriptor that the program that was executed before has left
// under a name, once; nil when there is none. Run closes what nobody has asked for.
func (s *Supervisor) Inherited(name string) *os.File { return s.estate.take(name) }

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
