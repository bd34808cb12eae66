package segue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/segue-go/segue/handover"
)

// endPatience is what a process gets between TERM and KILL for its cleanups.
const endPatience = 5 * time.Second

// successor is the new generation, seen from the process that started it.
type successor struct {
	m       *machine // of the process that started it
	process *handover.Process
	journal *os.File       // what it has in flight while it is not proven; may be nil
	drain   time.Duration  // what it may take to finish requests
	link    *handover.Link // written before linked is closed
	peer    int            // likewise: the process at the other end
	linked  chan struct{}
	ready   chan struct{}
	once    sync.Once // READY may be said again

	released chan struct{} // closed when it is on its own: the link ends, which tells it
}

// welcome waits until the successor, and nobody else, has dialled. The directory
// of the socket is not needed any more then: it would be left behind if this
// process were killed.
func (s *successor) welcome(control *handover.ControlListener, dir string) {
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
		control.Close()
		os.RemoveAll(dir)
		s.peer = peer.PID
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

// call is Call for one that has dialled, with what goes with the verb.
func (s *successor) call(ctx context.Context, v handover.Verb, f handover.Fields, files ...*os.File) error {
	ctx, cancel := context.WithTimeout(ctx, handover.CallTimeout)
	defer cancel()
	_, err := s.link.Call(ctx, v, f, files...)
	return err
}

// adopts has the successor take over live connections of this process, and
// returns the way to it.
func (s *successor) adopts(ctx context.Context) (*handover.Departure, error) {
	here, there, err := handover.MovePair()
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := s.call(ctx, handover.Adopt, handover.Fields{"FROM": strconv.Itoa(os.Getpid())}, there); err != nil {
		here.Close()
		return nil, err
	}
	return handover.NewDeparture(here, s.peer)
}

// End asks the successor to leave and kills it when its time is over: soon when
// it never served, after a drain when it did. It is told that somebody else
// serves, since SIGTERM would have it refuse the clients that are ours again; what
// it has accepted comes back to this process, if it can.
func (s *successor) End(graceful bool) {
	go func() {
		if !graceful {
			s.process.Signal(syscall.SIGTERM)
			s.killAfter(endPatience)
			return
		}
		if s.takeBack() != nil { // it has answered OPEN: it has dialled
			s.process.Signal(syscall.SIGTERM)
		}
		s.killAfter(endPatience + s.drain)
	}()
}

// takeBack has the successor drain, and this process adopt its connections,
// unless it leaves as well.
func (s *successor) takeBack() error {
	ctx := context.Background()
	if s.m.app.Phase() >= Draining {
		return s.call(ctx, handover.Drain, nil)
	}
	here, there, err := handover.MovePair()
	if err == nil {
		defer there.Close()
		err = s.m.adopt(here, s.peer)
	}
	if err != nil {
		s.m.out.emit(Problem{fmt.Errorf("connections do not come back: %w", err)})
		return s.call(ctx, handover.Drain, nil)
	}
	return s.call(ctx, handover.Drain, handover.Fields{"TO": strconv.Itoa(os.Getpid())}, there)
}

// leave has a successor that serves leave for good.
func (s *successor) leave() {
	s.process.Signal(syscall.SIGTERM)
	go s.killAfter(endPatience + s.drain)
}

func (s *successor) killAfter(patience time.Duration) {
	select {
	case <-s.process.Done():
	case <-time.After(patience):
		s.process.Signal(os.Kill)
	}
}
