package supervise

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/launch"
)

// Service is one supervised service. The goroutine of Run owns its state; other
// goroutines send it calls, and read under mu.
type Service struct {
	name   string
	dir    string        // its runtime directory
	first  int           // number of the first generation that is this supervisor's
	seen   map[int]int64 // how much those had written that it has taken over
	common *common
	home   *home
	logs   logs
	bound  *archivist // of the logs
	bus    channel
	of     *Supervisor // nil when it is alone
	hub    *hub

	start    func(launch.Spec, handover.Command) (process, error)
	hooks    *hooks
	calls    chan call      // to the loop
	ended    chan struct{}  // closed when the loop has
	beside   sync.WaitGroup // attempts, and the watch over each generation
	exitCode atomic.Int32   // of the service

	mu       sync.Mutex // the loop writes under it, others read under it
	view     view
	released bool

	// Only the loop's.
	planned   Config  // as the plan has it
	stale     bool    // what was adopted is not what the plan says
	before    Config  // what it said then, if it is stale
	adopted   bool    // generations of an earlier supervisor go on
	forgetful bool    // what the next supervisor must know could not be written down
	recipe    recipe  // of the next generation
	previous  *recipe // of the generation before the one that serves; nil if there is none
	number    int     // of the newest generation
	crashes   backoff
	try       *attempt
	stopping  *ending
	timer     *time.Timer // of a pause; nil when there is none
}

// view is what the status shows.
type view struct {
	state      client.State
	reason     string
	since      time.Time
	current    *generation // the one that serves, or served last
	config     Config      // of the recipe
	previous   *client.Generation
	alive      []*generation // oldest first
	restarts   int
	rolledBack int
	crashed    int
	last       *client.Report
}

type call struct {
	f    func() error
	done chan error
}

// New checks c, makes and locks the runtime directory and opens the sockets.
// Nothing is started. An error changes nothing that runs.
func New(c Config) (*Service, error) { return newService(c, nil, nil) }

// newService is New for one instance of several: under a supervisor, with what its
// instances share but for the first of them. What an earlier supervisor has left
// running is taken over.
func newService(c Config, of *Supervisor, shared *common) (_ *Service, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	r, err := prepared(c, "")
	if err != nil && !survives(c.RuntimeDir) { // what serves goes on also without its file
		return nil, err
	}
	s := &Service{
		name: c.Name, dir: c.RuntimeDir, of: of, planned: c, recipe: r, start: launched,
		bus: channel{newBus(), c.Name, false}, calls: make(chan call), ended: make(chan struct{}),
	}
	if of != nil {
		s.bus = channel{of.bus, c.Name, true}
	}
	s.hooks = newHooks(s.bus.publish)
	s.view.state, s.view.since, s.view.config = client.Starting, time.Now(), c
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.home, err = openHome(c.Name, c.RuntimeDir, s.estate().take(s.name+"/lock")); err != nil {
		return nil, err
	}
	if s.logs, err = openLogs(c.RuntimeDir); err != nil {
		return nil, err
	}
	s.bound = newArchivist(s.logs, s.logging, s.logProblem)
	old, err := recall(c.RuntimeDir)
	if err != nil {
		s.bus.publish(client.Event{Kind: client.EventProblem, Text: err.Error()})
	}
	alive, err := old.survivors()
	if err != nil {
		return nil, fmt.Errorf("cannot take %s over from the supervisor before this one: %w", c.Name, err)
	}
	if n, pids := s.logs.survivor(); n > 0 && len(alive) == 0 {
		return nil, survived(c.Name, n, pids)
	}
	if all := s.logs.numbers(); len(all) > 0 {
		s.number = all[len(all)-1] // numbers go on, so that a log is of one generation only
	}
	if old != nil {
		s.number = max(s.number, old.Number)
	}
	s.first = s.number + 1
	if shared == nil {
		if shared, err = newCommon(origin{of, c.Name}); err != nil {
			return nil, err
		}
	}
	if !shared.hold() {
		return nil, fmt.Errorf("cannot start %s: its sockets are being closed; try again", c.Name)
	}
	s.common = shared
	if s.hub, err = openHub(c.RuntimeDir, s.estate(), s.name, s.common.sockets, s.bus.publish, s.asked); err != nil {
		return nil, err
	}
	if len(alive) > 0 {
		s.stale, s.before = !equal(old.Planned, c), old.Planned
		return s, s.adopt(old, alive)
	}
	if old != nil {
		s.previous = old.Previous
		s.reopen(nil)
	}
	_, err = s.common.sockets.open(c.Listen)
	return s, err
}

// estate is what the program that was executed before has left.
func (s *Service) estate() *estate { return origin{of: s.of}.estate() }

// Close releases what New took. Run does so itself.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		return nil
	}
	s.released = true
	if s.hub != nil {
		s.hub.close()
	}
	if s.common != nil {
		if len(s.view.alive) > 0 { // it was taken over, and is let go of again
			s.common.sockets.leave()
		}
		s.common.release()
	}
	s.recipe.file.close()
	if s.previous != nil {
		s.previous.file.close()
	}
	s.bus.close()
	if s.home != nil {
		s.home.close()
	}
	return nil
}

// Run starts the service and supervises it until it has ended: because ctx
// ended or Stop was called, because it exited with status 0 by itself, or
// because it failed for good. It returns nil unless the service failed. It must
// be called once.
func (s *Service) Run(ctx context.Context) error {
	defer s.Close()
	bounding, unbound := context.WithCancel(context.Background())
	s.beside.Go(func() { s.bound.run(bounding) })
	defer func() {
		close(s.ended)
		unbound()
		s.beside.Wait() // their last words are events
		s.hooks.close()
		forget(s.dir)
		s.reportStop()
	}()
	s.hub.start()
	if s.adopted {
		s.goOn()
	} else {
		s.begin(s.recipe, "restart", nil)
	}
	gone := ctx.Done()
	for s.view.state != client.Stopped && (s.view.state != client.Failed || len(s.view.alive) > 0) {
		var pause <-chan time.Time
		if s.timer != nil {
			pause = s.timer.C
		}
		select {
		case c := <-s.calls:
			c.done <- c.f()
		case <-pause:
			s.timer = nil
			s.enter(due, "")
			s.begin(s.anew(), "restart", nil)
		case <-gone:
			gone = nil
			s.end(nil)
		}
	}
	if s.view.state == client.Failed {
		return errors.New(s.view.reason)
	}
	return nil
}

var errEnded error = &client.Error{Message: "the service has ended"}

// do has the loop run f and returns after it has.
func (s *Service) do(f func() error) error {
	c := call{f, make(chan error, 1)}
	select {
	case s.calls <- c:
		return <-c.done
	case <-s.ended:
		return errEnded
	}
}

// enter takes the step and tells everybody. It is the one writer of the state.
func (s *Service) enter(e event, reason string) error {
	to, err := next(s.view.state, e)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.view.state, s.view.reason, s.view.since = to, reason, time.Now()
	s.mu.Unlock()
	s.bus.publish(client.Event{Kind: client.EventState, State: to, Text: reason})
	s.remember()
	return nil
}

// become gives a generation its role and tells everybody.
func (s *Service) become(g *generation, r client.Role) {
	g.become(r)
	s.bus.publish(client.Event{Kind: client.EventGeneration, Generation: g.number, PID: g.process.PID, Role: r})
	s.remember()
}

// anew is what is started when nobody has asked for anything: the file that has
// served, also when another one has taken its place, which was rolled back or is not
// to be tried yet.
func (s *Service) anew() recipe {
	if s.recipe.Proven.Number == 0 {
		return s.recipe
	}
	r, err := s.recipe.again(s.dir)
	if err != nil {
		s.bus.publish(client.Event{Kind: client.EventProblem, Text: err.Error()})
		return s.recipe
	}
	return r
}

// asked is called when a generation was sent SIGUSR2.
func (s *Service) asked() {
	go func() {
		if _, err := s.Restart(context.Background(), client.RestartRequest{}); err != nil {
			s.bus.publish(client.Event{Kind: client.EventProblem, Text: err.Error()})
		}
	}()
}

// Reload has the serving generation read its configuration again, and returns
// what it says of it.
func (s *Service) Reload(ctx context.Context) error {
	s.mu.Lock()
	g := s.view.current
	s.mu.Unlock()
	if g == nil || g.Err() != nil {
		return &client.Error{Message: "cannot reload: nothing serves", Hint: "segue status says why"}
	}
	return g.Call(ctx, handover.Reload)
}

// Status is the present state. Any goroutine may ask.
func (s *Service) Status() client.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.view
	st := client.Status{
		Service: s.name, State: v.state, Reason: v.reason, Since: v.since,
		Sockets: s.common.sockets.status(), Generations: []client.Generation{}, Previous: v.previous,
		Restarts: v.restarts, RolledBack: v.rolledBack, Crashes: v.crashed, LastReport: v.last,
	}
	for _, g := range v.alive {
		st.Generations = append(st.Generations, g.info())
	}
	return st
}

// Subscribe returns the events from now on; the channel is closed by cancel, or
// at the end of the service.
func (s *Service) Subscribe() (events <-chan client.Event, cancel func()) { return s.bus.subscribe() }

// ExitCode is the exit status of the generation that served last, for a
// supervisor that is PID 1 of a container: 128 plus the signal if one ended it.
func (s *Service) ExitCode() int { return int(s.exitCode.Load()) }
