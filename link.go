package segue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segue-go/segue/handover"
)

// Pauses between attempts to reach a supervisor that is being replaced.
const (
	redialFirst = 100 * time.Millisecond
	redialMost  = 2 * time.Second
)

// pausedPatience is how long a generation that was paused for its successor
// waits for another supervisor before it takes the pause for the end.
const pausedPatience = 15 * time.Second

// Bounds of a report on the wire, where a message takes 64 KiB.
const (
	maxStacks = 16 << 10
	maxReport = 30 << 10 // of JSON, of which the wire may escape every byte
)

// link is this generation's side of the control wire. It owns one goroutine
// that keeps the connection.
type link struct {
	m      *machine
	path   string
	cancel context.CancelFunc
	done   chan struct{}
	opened atomic.Bool // it has been told OPEN once

	mu    sync.Mutex
	now   *handover.Link  // to the present or the last supervisor
	ready handover.Fields // what READY says; nil before
	kept  []string        // names of the sockets that earlier generations have opened
}

// connect dials the supervisor, if there is one.
func (m *machine) connect(ctx context.Context) error {
	if m.in.Control == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &link{m: m, path: m.in.Control, cancel: cancel, done: make(chan struct{})}
	if err := l.dial(ctx); err != nil {
		cancel()
		return err
	}
	m.link = l
	go l.keep(ctx)
	return nil
}

// dial connects, says who we are and, if we are, that we are ready.
func (l *link) dial(ctx context.Context) error {
	peer, err := handover.DialControl(ctx, l.path)
	if err != nil {
		return err
	}
	now := handover.NewLink(peer, l.handle)
	hello := handover.Fields{
		"GENERATION": strconv.Itoa(l.m.in.Generation),
		"PID":        strconv.Itoa(os.Getpid()),
		"NAME":       l.m.opts.Name,
	}
	ctx, cancel := context.WithTimeout(ctx, handover.CallTimeout)
	defer cancel()
	answer, err := now.Call(ctx, handover.Hello, hello)
	if err != nil {
		now.Close()
		return fmt.Errorf("the supervisor does not know this process: %w", err)
	}
	l.mu.Lock()
	l.now = now
	l.kept = strings.Split(answer["KEPT"], ":")
	ready := l.ready
	l.mu.Unlock()
	if ready != nil {
		_, err = now.Call(ctx, handover.Ready, ready)
	}
	return err
}

// keepSocket has the supervisor hold a socket that this process has opened, so
// that the next generation finds it, and clients never find it closed.
func (l *link) keepSocket(ctx context.Context, s *server) error {
	conn, ok := s.ln.(syscall.Conn)
	if !ok {
		return fmt.Errorf("cannot have socket %q kept: it has no descriptor", s.name)
	}
	f, err := handover.Dup(conn, s.name)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(ctx, handover.CallTimeout)
	defer cancel()
	_, err = l.current().Call(ctx, handover.Keep, handover.Fields{"SOCKET": s.name}, f)
	return err
}

// wasKept says whether an earlier generation has opened this socket.
func (l *link) wasKept(socket string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.kept, socket)
}

func (l *link) current() *handover.Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// keep dials again whenever the supervisor has gone. A generation that was
// never told to open leaves instead: nobody can tell it any more. One that was
// spawned by its predecessor goes on alone, and serves from now on if it did not
// yet: the predecessor has let go, or died.
func (l *link) keep(ctx context.Context) {
	defer close(l.done)
	for {
		now := l.current()
		select {
		case <-ctx.Done():
			now.Close()
			return
		case <-now.Done():
			now.Close()
		}
		switch {
		case l.m.in.Predecessor > 0:
			l.m.do(l.m.inherit)
			<-ctx.Done()
			return
		case !l.opened.Load():
			l.m.do(func() error { return l.m.leave("the supervisor went away before it let this generation serve", false) })
			<-ctx.Done()
			return
		}
		l.m.do(l.m.proven)
		l.m.out.emit(Problem{errors.New("the supervisor is gone; this generation goes on serving and looks for a new one")})
		lost := time.Now()
		for pause := redialFirst; l.dial(ctx) != nil; pause = min(2*pause, redialMost) {
			if time.Since(lost) > pausedPatience && Phase(l.m.current.Load()) == Paused {
				l.m.do(func() error {
					return l.m.leave("a newer generation serves, and nobody is left to resume this one", true)
				})
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
		}
	}
}

// isReady tells the supervisor, beside the loop.
func (l *link) isReady(m *machine) {
	var names []string
	for _, s := range m.app.servers {
		names = append(names, s.name)
	}
	ready := handover.Fields{"SOCKETS": strings.Join(names, ":")}
	l.mu.Lock()
	l.ready = ready
	now := l.now
	l.mu.Unlock()
	go now.Call(context.Background(), handover.Ready, ready)
}

// call asks something of the supervisor.
func (l *link) call(ctx context.Context, v handover.Verb) error {
	now := l.current()
	_, err := now.Call(ctx, v, nil)
	return err
}

// report tells the supervisor how the leaving went. What does not fit is left
// out: the counts stay.
func (l *link) report(r Report) error {
	r.Stacks = r.Stacks[:min(len(r.Stacks), maxStacks)]
	data, err := json.Marshal(r)
	for ; err == nil && len(data) > maxReport; data, err = json.Marshal(r) {
		r = r.less()
	}
	if err != nil {
		return err
	}
	now := l.current()
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	_, err = now.Call(ctx, handover.Account, handover.Fields{"REPORT": string(data)})
	return err
}

func (l *link) close() {
	l.cancel()
	<-l.done
}

// handle does what the supervisor says.
func (l *link) handle(ctx context.Context, r handover.Request) (handover.Fields, error) {
	defer r.Close()
	m := l.m
	switch r.Verb {
	case handover.Trial:
		return nil, m.do(func() error {
			if m.phase != Paused {
				return fmt.Errorf("cannot be tried while the service is %v", m.phase)
			}
			return nil
		})
	case handover.Probe:
		return nil, m.probe(r)
	case handover.Check:
		return nil, m.app.Readiness(ctx)
	case handover.Open, handover.Resume:
		l.opened.Store(true)
		return nil, m.do(m.open)
	case handover.Pause:
		return nil, m.do(m.pause)
	case handover.Proven:
		return nil, m.do(m.proven)
	case handover.Reload:
		return nil, m.reload(ctx)
	case handover.Drain:
		return nil, m.leaveWithin(r.Fields["BUDGET"], "a new generation serves", true)
	case handover.Stop:
		return nil, m.leaveWithin(r.Fields["BUDGET"], "the supervisor stops the service", false)
	}
	return nil, fmt.Errorf("cannot do %s: this generation does not know it", r.Verb)
}

// leaveWithin leaves with the supervisor's budget for the drain: it will not
// wait for longer, whatever the service's own options say.
func (m *machine) leaveWithin(budget, reason string, successor bool) error {
	d, err := time.ParseDuration(budget)
	if budget != "" && (err != nil || d < 0) {
		return fmt.Errorf("cannot leave within %q: it is not a duration such as 30s", budget)
	}
	return m.do(func() error {
		if budget != "" && m.phase < Draining {
			m.opts.DrainTimeout = d
		}
		return m.leave(reason, successor)
	})
}

// probe hands a connection that the supervisor made to the server it is for.
func (m *machine) probe(r handover.Request) error {
	if p := m.app.Phase(); p == Starting || p >= Closing {
		return fmt.Errorf("cannot be probed while the service is %v", p)
	}
	if len(r.Files) != 1 {
		return fmt.Errorf("cannot be probed with %d connections in one message: exactly one is expected", len(r.Files))
	}
	for _, s := range m.app.servers {
		if s.name != r.Fields["SOCKET"] && !s.any {
			continue
		}
		c, err := net.FileConn(r.Files[0])
		if err != nil {
			return fmt.Errorf("cannot take the probe connection: %w", err)
		}
		if err := s.gate.Inject(c); err != nil {
			c.Close()
			return fmt.Errorf("cannot take the probe connection: %w", err)
		}
		return nil
	}
	return fmt.Errorf("cannot be probed: no server is called %q", r.Fields["SOCKET"])
}
