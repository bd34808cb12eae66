package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/segue-go/segue/handover"
)

// actor is a process that is not there: the handle of one, with a character. What is
// said to it and what it does is told to the world, which knows the rules.
type actor struct {
	character
	w      *world
	number int // of the process; that of a generation is another one if some could not be started
	pid    int
	began  time.Time
	config Config

	lost chan struct{} // closed at its end, a moment before it can be reaped
	done chan struct{}

	// Under the world's lock.
	g         *generation // nil until the hub knows it
	link      *wire       // nil if it never greets
	gate      chan struct{}
	calls     map[handover.Verb]int
	inFlight  int // verbs
	steerable bool
	greeted   bool
	saidReady bool
	late      bool // it said so when it was not waited for any more
	accepts   bool
	told      []string  // to leave
	leaving   bool      // it does
	proven    bool      // it was told
	tried     time.Time // when it answered TRIAL
	opened    time.Time // when it answered OPEN; zero before
	paused    int       // times
	resumed   int
	heir      *actor // who takes its connections over
	incumbent *actor // who served when it was opened
	excuse    string // why it may be treated as one that is broken; "" if it never failed
	dead      bool
	died      time.Time
	code      int
	err       error
}

func (a *actor) Started() uint64       { return uint64(a.pid) }
func (a *actor) Owns(pid int) bool     { return pid == a.pid }
func (a *actor) Done() <-chan struct{} { return a.done }

func (a *actor) Err() error {
	select {
	case <-a.done:
		return a.err
	default:
		return nil
	}
}

func (a *actor) ExitCode() int {
	select {
	case <-a.done:
		return a.code
	default:
		return -1
	}
}

func (a *actor) Signal(s os.Signal) error {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if a.dead {
		return nil
	}
	a.w.log(a, "gets %v", s)
	switch {
	case s == os.Kill:
		if len(a.told) == 0 {
			a.w.broken("%v was killed, and never told to leave", a)
		}
		a.die(137)
	default:
		a.w.toldToLeave(a, s.String())
		switch {
		case a.deaf:
			a.excuses("is deaf")
		case a.leaving:
			a.die(1)
		default:
			a.leave()
		}
	}
	return nil
}

func (a *actor) String() string { return fmt.Sprintf("process %d", a.number) }

// excuses notes that it has failed. The caller holds the world's lock, here as below.
func (a *actor) excuses(format string, args ...any) {
	if a.excuse == "" {
		a.excuse = fmt.Sprintf(format, args...)
		a.w.log(a, "%s", a.excuse)
	}
}

// die ends it.
func (a *actor) die(code int) {
	if a.dead {
		return
	}
	a.dead, a.died, a.accepts = true, time.Now(), false
	a.code, a.err = code, fmt.Errorf("exited with status %d", code)
	a.w.log(a, "dies with %d", code)
	close(a.lost)
	if a.reaped == 0 {
		close(a.done)
		return
	}
	go func() {
		time.Sleep(a.reaped)
		close(a.done)
	}()
}

// leave has it end when it has drained.
func (a *actor) leave() {
	if a.leaving {
		return
	}
	a.leaving, a.accepts = true, false
	go func() {
		select {
		case <-time.After(a.drains):
		case <-a.lost:
			return
		}
		a.w.mu.Lock()
		greeted := a.greeted
		a.w.mu.Unlock()
		if greeted {
			a.request(handover.Account, handover.Fields{"REPORT": `{"in_flight": 1, "finished": 1}`})
		}
		a.w.mu.Lock()
		defer a.w.mu.Unlock()
		a.die(a.exit)
	}()
}

// live is its life from its own side, as far as it is not asked for anything.
func (a *actor) live() {
	g := a.w.s.hub.find(a.pid)
	a.w.mu.Lock()
	a.g = g
	a.w.mu.Unlock()
	if g == nil {
		return // it has ended already
	}
	if a.lives > 0 {
		go func() {
			if a.pass(a.lives) {
				a.w.mu.Lock()
				defer a.w.mu.Unlock()
				a.die(a.exit)
			}
		}()
	}
	speaks := a.config.Speaks == SpeaksSegue && !a.mute
	if a.pass(a.greets) && speaks {
		a.greet()
	}
	if a.config.Speaks == SpeaksNothing || a.ready < 0 || !a.pass(a.ready) {
		return
	}
	a.w.mu.Lock()
	a.late = time.Since(a.began) >= a.config.ReadyTimeout
	a.saidReady, a.accepts = true, !speaks && !a.dead && !a.leaving
	a.w.mu.Unlock()
	a.speak()
	if a.twice {
		if speaks {
			a.greet()
		}
		a.speak()
	}
}

// pass says whether it lives still after d.
func (a *actor) pass(d time.Duration) bool {
	if d > 0 {
		select {
		case <-time.After(d):
		case <-a.lost:
		}
	}
	select {
	case <-a.lost:
		return false
	default:
		return true
	}
}

// greet dials the supervisor.
func (a *actor) greet() {
	l := &wire{a: a, closed: make(chan struct{})}
	l.caller = &caller{hub: a.w.s.hub, g: a.g, pid: a.pid, link: l}
	a.w.mu.Lock()
	a.link, a.steerable = l, true
	a.w.mu.Unlock()
	a.request(handover.Hello, handover.Fields{"GENERATION": strconv.Itoa(a.g.number)})
	a.w.mu.Lock()
	a.greeted = true
	a.w.mu.Unlock()
}

// speak says that it is ready.
func (a *actor) speak() {
	if a.link != nil {
		a.request(handover.Ready, handover.Fields{"SOCKETS": "web"})
		return
	}
	a.w.s.hub.hear(handover.Notification{PID: a.pid, UID: os.Geteuid(), Values: map[string]string{"READY": "1"}}, nil)
}

// request is what comes over its link.
func (a *actor) request(v handover.Verb, f handover.Fields) {
	if _, err := a.link.caller.handle(context.Background(), handover.Request{Verb: v, Fields: f}); err != nil {
		a.w.mu.Lock()
		defer a.w.mu.Unlock()
		a.w.broken("%s of %v was refused: %v", v, a, err)
	}
}

// wire is the control link to an actor.
type wire struct {
	a      *actor
	caller *caller
	once   sync.Once
	closed chan struct{}
}

func (l *wire) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *wire) Borrow(context.Context) ([]handover.Socket, error) {
	return nil, errors.New("nobody asks for it here")
}

// Call is as that of handover.Link: what was sent is done, also when nobody waits for
// the answer any more.
func (l *wire) Call(ctx context.Context, v handover.Verb, f handover.Fields, files ...*os.File) (handover.Fields, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("cannot have %s done: %w", v, context.Cause(ctx))
	}
	for _, file := range files {
		if _, err := file.Stat(); err != nil {
			l.a.w.mu.Lock()
			l.a.w.broken("%s brings %v a file that is closed: %v", v, l.a, err)
			l.a.w.mu.Unlock()
		}
	}
	answer := l.a.receive(v, f)
	var err error
	select {
	case err := <-answer:
		return nil, err
	case <-l.a.lost:
		err = fmt.Errorf("cannot have %s done: %w", v, handover.ErrLinkClosed)
	case <-l.closed:
		err = fmt.Errorf("cannot have %s done: %w", v, handover.ErrLinkClosed)
	case <-ctx.Done():
		err = fmt.Errorf("no answer to %s: %w", v, context.Cause(ctx))
	}
	select {
	case err := <-answer: // it came first
		return nil, err
	default:
		return nil, err
	}
}

var gates = []handover.Verb{handover.Open, handover.Pause, handover.Resume}

// receive has it do what it is asked for, in its manner.
func (a *actor) receive(v handover.Verb, f handover.Fields) <-chan error {
	answer := make(chan error, 1)
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if a.dead {
		return answer
	}
	a.w.log(a, "is asked for %s", v)
	a.calls[v]++
	r := a.reactions[v]
	if n := a.calls[v]; n < r.from || n > r.to {
		r = reaction{}
	}
	a.w.asked(a, v, f)
	if r.kind != obeys || r.late >= handover.CallTimeout {
		a.excuses("%v %s after %v", r.kind, v, r.late)
	}
	before, after := a.gate, make(chan struct{})
	if slices.Contains(gates, v) {
		a.gate = after
	} else {
		before = nil
	}
	a.inFlight++
	go func() {
		defer close(after)
		if before != nil {
			<-before
		}
		lives := a.pass(r.late)
		if r.kind == hangs { // for as long as anybody waits
			a.pass(handover.CallTimeout)
		}
		a.w.mu.Lock()
		defer a.w.mu.Unlock()
		a.inFlight--
		if !lives || r.kind == hangs {
			return
		}
		switch r.kind {
		case refuses:
			answer <- fmt.Errorf("cannot do %s: not today", v)
			return
		case diesBefore:
			a.die(9)
			return
		}
		a.obey(v)
		answer <- nil
		if r.kind == diesAfter {
			a.w.mu.Unlock()
			for range r.soon {
				runtime.Gosched()
			}
			a.w.mu.Lock()
			a.die(9)
		}
	}()
	return answer
}

// obey does what it is asked for.
func (a *actor) obey(v handover.Verb) {
	switch v {
	case handover.Trial:
		a.tried = time.Now()
	case handover.Open:
		a.accepts, a.opened = !a.leaving, time.Now()
	case handover.Pause:
		a.accepts, a.paused = false, a.paused+1
	case handover.Resume:
		a.accepts, a.resumed = !a.leaving, a.resumed+1
	case handover.Proven:
		a.proven = true
	case handover.Drain, handover.Stop:
		a.leave()
	}
}

// upgrades asks for a restart, as one that was sent SIGUSR2.
func (a *actor) upgrades() {
	a.w.mu.Lock()
	l, dead := a.link, a.dead
	a.w.mu.Unlock()
	if l != nil && !dead {
		a.request(handover.Upgrade, nil)
	}
}

var _ handle = (*actor)(nil)
var _ link = (*wire)(nil)
