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
		"PHASE":      Phase(l.m.current.Load()).String(),
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
	if ready == nil {
		return nil
	}
	if _, err = now.Call(ctx, handover.Ready, ready); err != nil {
		now.Close()
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

// lend answers a supervisor that has followed another one with the listening sockets.
func (l *link) lend(r handover.Request) (handover.Fields, error) {
	var sockets []handover.Socket
	err := l.m.do(func() (err error) {
		sockets, err = l.m.listening()
		return err
	})
	if err != nil {
		return nil, err
	}
	return handover.LendSockets(r, sockets)
}

// listening are duplicates of the sockets that are open, by the names under which they
// came, or else their servers'.
func (m *machine) listening() (all []handover.Socket, err error) {
	select {
	case <-m.startEnded:
	default: // setup may be opening them at this moment
		return nil, fmt.Errorf("cannot lend sockets while the service is %v", m.phase)
	}
	for _, s := range m.app.servers {
		conn, ok := s.ln.(syscall.Conn)
		if !ok { // it never became one
			continue
		}
		f, err := handover.Dup(conn, s.name)
		switch {
		case errors.Is(err, net.ErrClosed):
			continue
		case err != nil:
			for _, s := range all {
				s.File.Close()
			}
			return nil, err
		}
		name := s.name
		if s.given != "" {
			name = s.given
		}
		all = append(all, handover.Socket{Name: name, File: f})
	}
	return all, nil
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
		if l.m.in.Predecessor > 0 {
			l.m.do(l.m.inherit)
			<-ctx.Done()
			return
		}
		if l.m.do(l.m.abandoned) != nil {
			<-ctx.Done()
			return
		}
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
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), handover.CallTimeout)
		defer cancel()
		if _, err := now.Call(ctx, handover.Ready, ready); err != nil && !errors.Is(err, handover.ErrLinkClosed) {
			m.out.emit(Problem{fmt.Errorf("cannot tell the supervisor that the service is ready: %w", err)})
		}
	}()
}

// upgrade asks for a restart of this service.
func (l *link) upgrade() error {
	ctx, cancel := context.WithTimeout(context.Background(), handover.CallTimeout)
	defer cancel()
	if _, err := l.current().Call(ctx, handover.Upgrade, nil); err != nil {
		return fmt.Errorf("cannot have the supervisor restart this service: %w", err)
	}
	return nil
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
