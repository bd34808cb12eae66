package segue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/handover"
)

// ErrForced is what [Run] returns, joined with other errors, when a second
// signal cut the leaving short.
var ErrForced = errors.New("the service was forced to leave before it had finished")

// flushTimeout is how long Run waits at the end for a slow event sink.
const flushTimeout = time.Second

// Run runs a service from its start to its end: it calls setup, serves, obeys
// signals and the supervisor, leaves without loss and returns. It never exits
// the process. It may be called once in a process, since sockets and
// environment that were inherited are used up.
//
// Run returns nil when the service left in order, also when connections were
// cut at the end of a budget: those are in the report. Otherwise the error
// joins everything that went wrong: a failed setup, a server or task that
// failed, cleanups that failed, [ErrForced].
//
// Signals (unless Options.NoSignals): TERM and INT leave, a second one forces;
// HUP reloads; USR2 hands over to a new process of the same program file, or
// asks the supervisor to; QUIT emits a [Goroutines] event. Ending ctx leaves.
func Run(ctx context.Context, o Options, setup func(ctx context.Context, app *App) error) error {
	origin, err := whereFrom()
	if err != nil {
		return err
	}
	in, err := handover.Inherit()
	if err != nil {
		return fmt.Errorf("cannot read what was inherited: %w", err)
	}
	return newMachine(o, in, origin).run(ctx, setup)
}

// machine is one service. The goroutine of run owns it: other goroutines send
// it calls, and read only what is marked as shared.
type machine struct {
	opts   Options
	in     handover.Inheritance
	origin origin // how to start a successor
	app    *App
	out    *outlet            // shared
	notify *handover.Notifier // shared
	calls  chan call          // shared
	ended  chan struct{}      // shared; closed when calls are no longer received

	phase   Phase
	current atomic.Int32 // shared: the phase, for readers
	errs    []error      // what Run returns
	opened  bool         // it has accepted connections
	spared  bool         // it leaves by its own decision: the next TERM is the first
	status  string       // what it does, for STATUS
	live    conns.Live   // of all servers, as told last

	outdated atomic.Bool // shared: somebody else has said a STATUS

	// main is shared: systemd follows this process, and the paths of unix sockets
	// are its to remove. A successor becomes it when its predecessor lets go.
	main   atomic.Bool
	speech sync.Mutex // of say: nothing is said behind MAINPID=

	abortStart context.CancelCauseFunc
	startEnded chan struct{} // shared; closed when setup, sockets and checks are over
	link       *link         // to the supervisor; nil without one
	tasks      tasks
	handing    *handing                // the last handover, under way or over; nil before
	force      context.CancelCauseFunc // ends every wait of the leaving; nil before it
	journal    *handover.Journal       // nil when none is kept
	departure  *departure              // by which live connections go to the successor; nil when they do not; fixed once it leaves
	arrivals   arrivals                // by which they come from other processes

	leftAt    time.Time  // when the leaving began
	reloading sync.Mutex // one round of reloads at a time

	mu     sync.Mutex
	report Report // steps are noted from several goroutines
}

// call is something for the loop to do: f runs in the goroutine that owns the
// machine, and done gets its result after it has.
type call struct {
	f    func() error
	done chan error
}

func newMachine(o Options, in handover.Inheritance, from origin) *machine {
	m := &machine{
		opts: o.withDefaults(), in: in, origin: from,
		notify: handover.NewNotifier(in.NotifySocket),
		calls:  make(chan call), ended: make(chan struct{}), startEnded: make(chan struct{}),
	}
	m.app = &App{m: m}
	m.main.Store(in.Predecessor == 0)
	m.out = newOutlet(m.opts.Events)
	m.report = Report{Service: m.opts.Name, Generation: in.Generation, PID: os.Getpid()}
	return m
}

func (m *machine) run(ctx context.Context, setup func(context.Context, *App) error) error {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	signals, stopSignals := m.signals()
	defer stopSignals()
	watchdog, stopWatchdog := m.watchdog()
	defer stopWatchdog()
	live := time.NewTicker(liveTick)
	defer live.Stop()

	if err := m.connect(work); err != nil {
		close(m.ended)
		m.out.close(flushTimeout)
		return err
	}
	starting, abortStart := context.WithCancelCause(work)
	m.abortStart = abortStart
	go m.async(func() error { return m.prepare(starting, setup) }, m.whenPrepared)
	late := time.AfterFunc(m.opts.StartTimeout+startGrace, m.startIsLate)
	defer late.Stop()
	gone := ctx.Done()
	for m.phase != Stopped {
		select {
		case c := <-m.calls:
			c.done <- c.f()
		case s := <-signals:
			m.signal(s)
		case <-watchdog:
			m.say("WATCHDOG=1")
		case <-live.C:
			m.tellLive()
		case <-gone:
			gone = nil
			m.leave("context ended: "+context.Cause(ctx).Error(), false)
		}
	}
	close(m.ended)
	if m.link != nil {
		m.link.close()
	}
	m.endMoves()
	m.notify.Close()
	m.out.close(flushTimeout)
	return errors.Join(m.errs...)
}

// do has the owner run f and returns after it has.
func (m *machine) do(f func() error) error {
	c := call{f, make(chan error, 1)}
	select {
	case m.calls <- c:
		return <-c.done
	case <-m.ended:
		return errors.New("the service has ended")
	}
}

// async runs work beside the loop, and then in the loop what follows from it.
func (m *machine) async(work func() error, then func(error)) {
	err := work()
	m.do(func() error { then(err); return nil })
}

// enter takes the step and tells everybody. It is the one writer of the phase.
func (m *machine) enter(s step, reason string) error {
	to, err := m.phase.next(s)
	if err != nil {
		return err
	}
	if from := m.phase; from != to {
		m.phase = to
		m.current.Store(int32(to))
		m.out.emit(PhaseChanged{from, to, reason})
		m.status = to.String()
		m.sayStatus()
	}
	return nil
}

// whenPrepared: with a supervisor the gates stay shut until it says OPEN.
func (m *machine) whenPrepared(err error) {
	close(m.startEnded)
	if m.phase != Starting {
		return // it was told to leave meanwhile
	}
	if err != nil {
		m.fail(err)
		m.leave("the start failed", false)
		return
	}
	for _, s := range m.app.servers {
		go m.async(s.serve, func(err error) {
			if m.phase >= Draining {
				return
			}
			if err == nil {
				err = fmt.Errorf("server %q stopped serving before it was told to: leave its Shutdown to Run", s.name)
			}
			m.fail(err)
			m.leave(err.Error(), false)
		})
	}
	m.tasks.start(m)
	if m.link == nil || m.in.Predecessor > 0 && m.main.Load() {
		m.enter(alone, "")
		m.admit()
	} else {
		m.enter(prepared, "")
		m.link.isReady(m)
	}
	m.say("READY=1")
}

// inherit makes this process the one that serves, because the process that has
// started it is gone: in order, after it had let this one serve, or by a death
// before that. A successor that is to be given up is told so, and leaves.
func (m *machine) inherit() error {
	m.main.Store(true)
	m.outdated.Store(true)
	m.say("WATCHDOG=1")
	if m.phase == Paused && !m.opened {
		m.open()
	}
	if m.phase == Starting {
		return nil // whenPrepared goes on
	}
	return m.proven()
}

// abandoned is told that the supervisor is gone. A generation that was never let
// serve leaves, with an error: nobody can let it any more.
func (m *machine) abandoned() error {
	if !m.opened {
		reason := "the supervisor went away before it let this generation serve"
		m.leave(reason, false)
		return errors.New(reason)
	}
	m.out.emit(Problem{errors.New("the supervisor is gone; this generation goes on serving and looks for a new one")})
	m.proven()
	return nil
}

// open lets connections in.
func (m *machine) open() error {
	if err := m.enter(open, ""); err != nil {
		return err
	}
	m.admit()
	return nil
}

func (m *machine) admit() {
	for _, s := range m.app.servers {
		s.gate.Open()
	}
	m.opened = true
	m.tasks.startSolo(m)
}

// pause stops accepting, reversibly; what was accepted goes on.
func (m *machine) pause() error {
	if _, err := m.phase.next(pause); err != nil {
		return err
	}
	m.shut() // first: whoever hears of the pause may connect to the successor at once
	return m.enter(pause, "")
}

func (m *machine) shut() {
	for _, s := range m.app.servers {
		s.gate.Shut()
	}
}

// say tells systemd, if it follows this process: what a successor on probation,
// or a predecessor that drains, has to say is not the state of the service.
func (m *machine) say(assignments ...string) {
	m.speech.Lock()
	defer m.speech.Unlock()
	if m.main.Load() {
		m.notify.Send(assignments...)
	}
}

// fail keeps an error for Run to return.
func (m *machine) fail(err error) {
	m.errs = append(m.errs, err)
	m.out.emit(Problem{err})
}

// note puts a step into the report. Any goroutine may.
func (m *machine) note(s Step) {
	m.mu.Lock()
	m.report.Steps = append(m.report.Steps, s)
	m.mu.Unlock()
	m.out.emit(StepEnded{s})
}
