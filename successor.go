package segue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/segue-go/segue/handover"
)

// origin is what it takes to start this program again: taken down at the
// start, before the program can change its directory or environment.
type origin struct {
	path string // the name it was started by, so that a new file there is found
	args []string
	dir  string
	env  []string
}

func whereFrom() (origin, error) {
	dir, err := os.Getwd()
	if err != nil {
		return origin{}, fmt.Errorf("cannot tell the working directory: %w", err)
	}
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		if path, err = os.Executable(); err != nil {
			return origin{}, fmt.Errorf("cannot tell which program this is: %w", err)
		}
	}
	return origin{path: path, args: os.Args, dir: dir, env: os.Environ()}, nil
}

// handing is a handover under way from this process to its successor.
type handing struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	heir   *successor // written before done is closed; nil when none could be started
}

// refusal is why a process cannot be replaced by a child of its own.
func refusal(pid int, getenv func(string) string) error {
	switch {
	case pid == 1:
		return errors.New("cannot hand over as PID 1: the container ends with this process; start the service with `segue run`")
	case getenv("SUPERVISOR_ENABLED") != "":
		return errors.New("cannot hand over under supervisord: it would start a second copy when this process leaves; let supervisord start `segue run`")
	}
	return nil
}

// upgrade begins a handover, or has the supervisor begin a restart.
func (m *machine) upgrade() {
	if m.link != nil && m.in.Predecessor == 0 {
		go func() {
			if err := m.link.call(context.Background(), handover.Upgrade); err != nil {
				m.out.emit(Problem{fmt.Errorf("cannot have the supervisor restart this service: %w", err)})
			}
		}()
		return
	}
	err := refusal(os.Getpid(), os.Getenv)
	switch {
	case err != nil:
	case !m.main.Load():
		err = errors.New("cannot hand over while the predecessor may take the service back; wait until it has let go")
	case m.handing != nil:
		err = errors.New("cannot hand over: a handover is under way; wait for its end")
	case m.phase != Ready:
		err = fmt.Errorf("cannot hand over while the service is %v", m.phase)
	}
	if err != nil {
		m.out.emit(Problem{err})
		if m.phase == Ready && m.handing == nil { // systemctl reload waits for an answer
			m.announceReload()
			m.say("READY=1", "STATUS=serving; "+oneLine(err.Error()))
		}
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	h := &handing{cancel: cancel, done: make(chan struct{})}
	m.handing = h
	go func() {
		next, report := m.handOver(ctx, h)
		close(h.done)
		m.do(func() error { m.handedOver(h, next, report); return nil })
	}()
}

// handedOver ends a handover: the successor serves and this process leaves, or
// this process goes on.
func (m *machine) handedOver(h *handing, next handover.Generation, r handover.Report) {
	m.handing, m.heir = nil, h.heir
	if next == nil {
		m.out.emit(HandoverEnded{0, r})
		if m.phase < Draining {
			m.say("READY=1", "STATUS=serving; the last handover was rolled back: "+oneLine(r.Reason))
		}
		return
	}
	pid := next.(*successor).process.PID
	m.out.emit(HandoverEnded{pid, r})
	if m.phase >= Draining {
		next.(*successor).end(syscall.SIGTERM) // it was too late to give it up, and the service is to end
		return
	}
	m.spared = true
	m.leave("process "+strconv.Itoa(pid)+" serves", true)
}

// handOver starts a successor and runs the restart with this process as the
// old generation. It does not touch the loop's state.
func (m *machine) handOver(ctx context.Context, h *handing) (handover.Generation, handover.Report) {
	failed := func(err error) (handover.Generation, handover.Report) {
		return nil, handover.Report{Outcome: handover.RolledBack, Failed: handover.StepSpawn, Reason: err.Error()}
	}
	m.announceReload()
	dir, err := os.MkdirTemp("", "segue-")
	if err != nil {
		return failed(fmt.Errorf("cannot make a directory for the control socket: %w", err))
	}
	defer os.RemoveAll(dir)
	control, err := handover.ListenControl(filepath.Join(dir, "control"))
	if err != nil {
		return failed(err)
	}
	defer control.Close()
	next, report := handover.Restart{
		Old: (*incumbent)(m),
		Spawn: func(context.Context) (handover.Generation, error) {
			next, err := m.spawn(control)
			if err != nil {
				return nil, err
			}
			h.heir = next
			return next, nil
		},
		ReadyTimeout: m.opts.StartTimeout,
		Trial:        m.opts.Trial,
		Probation:    m.opts.Probation,
		Progress:     func(s handover.Step) { m.out.emit(HandoverStep{s}) },
	}.Run(ctx)
	if next == nil {
		m.lostWith(h.heir, &report)
		return nil, report
	}
	if j := h.heir.journal; j != nil {
		j.Close()
	}
	// Only now may systemd follow the new process: the death of the main
	// process ends the unit (MAINPID= in sd_notify(3)).
	pid := strconv.Itoa(next.(*successor).process.PID)
	m.notify.Send("MAINPID="+pid, "READY=1", "STATUS=serving as process "+pid)
	ctx, cancel := context.WithTimeout(ctx, handover.CallTimeout)
	defer cancel()
	if err := m.notify.Barrier(ctx); err != nil {
		m.out.emit(Problem{err})
	}
	m.main.Store(false)
	close(next.(*successor).released)
	return next, report
}

// spawn starts the program again with every socket of this one.
func (m *machine) spawn(control *handover.ControlListener) (*successor, error) {
	c := handover.Command{
		Path: m.origin.path, Args: m.origin.args, Dir: m.origin.dir, Env: m.origin.env,
		Stdout: os.Stdout, Stderr: os.Stderr,
		Generation:   max(m.in.Generation, 1) + 1,
		Predecessor:  os.Getpid(),
		NotifySocket: m.in.NotifySocket,
		Watchdog:     m.in.Watchdog,
		Control:      control.Path(),
		Sibling:      m.in.NotifySocket != "", // it is to be systemd's main process
		Solo:         m.in.Solo,
	}
	for _, s := range m.app.servers {
		conn, ok := s.ln.(syscall.Conn)
		if !ok {
			return nil, fmt.Errorf("cannot pass socket %q on: it has no descriptor", s.name)
		}
		f, err := handover.Dup(conn, s.name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		c.Sockets = append(c.Sockets, handover.Socket{Name: s.name, File: f})
	}
	c.Journal = m.newJournal()
	process, err := handover.Start(c)
	if err != nil {
		if c.Journal != nil {
			c.Journal.Close()
		}
		return nil, err
	}
	next := &successor{process: process, journal: c.Journal, drain: m.opts.DrainTimeout, ready: make(chan struct{}), linked: make(chan struct{}), released: make(chan struct{})}
	go next.welcome(control)
	return next, nil
}

// endPatience is what a process gets between TERM and KILL for its cleanups.
const endPatience = 5 * time.Second

// successor is the new generation, seen from the process that started it.
type successor struct {
	process *handover.Process
	journal *os.File       // what it has in flight while it is not proven; may be nil
	drain   time.Duration  // what it may take to finish requests
	link    *handover.Link // written before linked is closed
	linked  chan struct{}
	ready   chan struct{}
	once    sync.Once // READY may be said again

	released chan struct{} // closed when it is on its own: the link ends, which tells it
}

// welcome waits until the successor, and nobody else, has dialled.
func (s *successor) welcome(control *handover.ControlListener) {
	for {
		peer, err := control.Accept()
		if errors.Is(err, handover.ErrMalformed) {
			continue
		}
		if err != nil {
			return // the handover is over
		}
		if peer.UID != os.Geteuid() || !s.process.Owns(peer.PID) {
			peer.Close()
			continue
		}
		s.link = handover.NewLink(peer, s.handle)
		close(s.linked)
		select {
		case <-s.process.Done():
		case <-s.released:
		}
		s.link.Close()
		return
	}
}

func (s *successor) handle(ctx context.Context, r handover.Request) (handover.Fields, error) {
	defer r.Close()
	switch r.Verb {
	case handover.Hello, handover.Account:
		return nil, nil
	case handover.Ready:
		s.once.Do(func() { close(s.ready) })
		return nil, nil
	}
	return nil, fmt.Errorf("cannot do %s: the old generation does not know it", r.Verb)
}

func (s *successor) Ready() <-chan struct{} { return s.ready }
func (s *successor) Done() <-chan struct{}  { return s.process.Done() }
func (s *successor) Err() error             { return s.process.Err() }
func (s *successor) Steerable() bool        { return true }

func (s *successor) Call(ctx context.Context, v handover.Verb) error {
	select {
	case <-s.linked:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, err := s.link.Call(ctx, v, nil)
	return err
}

// End asks the successor to leave and kills it when its time is over: soon when
// it never served, after a drain when it did. It is told that somebody else
// serves, since SIGTERM would have it refuse the clients that are ours again.
func (s *successor) End(graceful bool) {
	if !graceful {
		s.end(syscall.SIGTERM)
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), handover.CallTimeout)
		defer cancel()
		if s.Call(ctx, handover.Drain) != nil {
			s.process.Signal(syscall.SIGTERM)
		}
		s.killAfter(endPatience + s.drain)
	}()
}

// end has it leave for good.
func (s *successor) end(sig os.Signal) {
	s.process.Signal(sig)
	patience := endPatience
	select {
	case <-s.released:
		patience += s.drain
	default:
	}
	go s.killAfter(patience)
}

func (s *successor) killAfter(patience time.Duration) {
	select {
	case <-s.process.Done():
	case <-time.After(patience):
		s.process.Signal(os.Kill)
	}
}

// incumbent is this process as the old generation of a handover.
type incumbent machine

// never is the readiness of what is ready already, and the end of what cannot
// end before this process.
var (
	always = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
	never  = make(chan struct{})
)

func (i *incumbent) Ready() <-chan struct{} { return always }
func (i *incumbent) Done() <-chan struct{}  { return never }
func (i *incumbent) Err() error             { return nil }
func (i *incumbent) Steerable() bool        { return true }
func (i *incumbent) End(bool)               {}

func (i *incumbent) Call(_ context.Context, v handover.Verb) error {
	m := (*machine)(i)
	switch v {
	case handover.Pause:
		return m.do(m.pause)
	case handover.Resume:
		return m.do(m.open)
	}
	return fmt.Errorf("cannot do %s to oneself", v)
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }
