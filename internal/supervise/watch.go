package supervise

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// spawn starts the next generation. It runs beside the loop, in an attempt: no
// other spawn is under way.
func (s *Service) spawn(program string) (*generation, error) {
	if err := s.home.check(); err != nil {
		return nil, err
	}
	var g *generation
	err := s.do(func() error {
		s.number++
		g = &generation{
			number: s.number, binary: program, started: time.Now(), budget: s.config.DrainTimeout,
			role: client.RoleStarting, ready: make(chan struct{}), retired: make(chan struct{}), hurry: make(chan struct{}),
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out, err := s.logs.create(g.number)
	if err != nil {
		// A full disk must not keep a service down: its output goes where ours goes.
		s.bus.publish(client.Event{Kind: client.EventProblem, Generation: g.number,
			Text: fmt.Sprintf("the output of generation %d is not kept: %v", g.number, err)})
		out = os.Stderr
	} else {
		g.output = out
	}
	g.journal = s.newJournal(g.number)
	s.hub.spawning.Lock()
	g.process, err = handover.Start(handover.Command{
		Path: program, Args: append([]string{program}, s.config.Argv[1:]...),
		Dir: s.config.Dir, Env: append(os.Environ(), s.config.Env...),
		Stdout: out, Stderr: out, Group: true,
		Sockets: s.sockets.all(), Solo: s.solo, Journal: g.journal, Generation: g.number,
		NotifySocket: s.hub.notify.Path(), Control: s.hub.control.Path(),
	})
	if err == nil {
		s.hub.add(g)
	}
	s.hub.spawning.Unlock()
	if err != nil {
		g.endJournal()
		g.endOutput(s.logs)
		return nil, err
	}
	s.do(func() error {
		s.mu.Lock()
		s.view.alive = append(s.view.alive, g)
		s.mu.Unlock()
		s.become(g, client.RoleStarting)
		return nil
	})
	s.beside.Go(func() { s.watch(g) })
	return g, nil
}

// watch follows a generation to its end.
func (s *Service) watch(g *generation) {
	<-g.Done()
	g.leave(handover.Stop, 0) // unless it was asked to leave already: for its children and its account
	<-g.retired
	s.hub.remove(g)
	g.endOutput(s.logs)
	s.do(func() error { s.exited(g); return nil })
}

// exited is told of every end of a generation, once.
func (s *Service) exited(g *generation) {
	s.bus.publish(client.Event{Kind: client.EventExit, Generation: g.number, PID: g.process.PID, Text: g.Err().Error()})
	s.mu.Lock()
	s.view.alive = slices.DeleteFunc(s.view.alive, func(o *generation) bool { return o == g })
	s.mu.Unlock()
	s.lost(g)
	s.endIfGone()
}

// lost acts upon the end of the generation that serves. In any other state an
// attempt or an ending is under way, and notices by itself.
func (s *Service) lost(g *generation) {
	if g != s.view.current {
		return
	}
	s.exitCode.Store(int32(g.process.ExitCode()))
	switch {
	case s.view.state != client.Serving:
	case g.process.ExitCode() == 0:
		s.stopping = &ending{began: time.Now(), last: g}
		s.enter(finished, "the service ended by itself")
	default:
		s.mu.Lock()
		s.view.crashed++
		s.mu.Unlock()
		s.enter(crashed, "generation "+describe(g))
		s.pause(g.servedFor())
	}
}

func describe(g *generation) string { return fmt.Sprintf("%d %v", g.number, g.Err()) }

// pause waits before the next start, or gives up.
func (s *Service) pause(served time.Duration) {
	pause, over := s.crashes.crash(served)
	if over {
		reason := fmt.Sprintf("the service failed %d times in a row: %s", crashLimit, s.view.reason)
		if lines := s.logs.tail(s.number, 10); len(lines) > 0 {
			reason += "; its last output was:\n" + strings.Join(lines, "\n")
		}
		s.enter(giveUp, reason)
		for _, g := range s.view.alive {
			g.leave(handover.Drain, s.config.DrainTimeout)
		}
		return
	}
	s.timer = time.NewTimer(pause)
}
