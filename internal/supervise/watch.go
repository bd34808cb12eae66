package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/launch"
)

// spawn starts the next generation. It runs beside the loop, in an attempt: no
// other spawn is under way.
func (s *Service) spawn(r recipe) (*generation, error) {
	if err := s.home.check(); err != nil {
		return nil, err
	}
	config := r.Config
	uid, gid, err := launch.Owner(config.User, config.Group)
	if err != nil {
		return nil, err
	}
	if uid < 0 {
		uid = os.Geteuid()
	}
	if uid != os.Geteuid() {
		if err := s.admit(uid, gid); err != nil {
			return nil, err
		}
	}
	r.Mark = ""
	if r.file, err = openExecutable(r.Program); err == nil {
		r.Mark = mark(r.file.info)
	} else if info, err := os.Stat(r.Program); err == nil {
		r.Mark = mark(info) // it may be executed, but not read
	}
	var g *generation
	err = s.do(func() error {
		s.number++
		g = newGeneration(s.number, r, uid, time.Now())
		return nil
	})
	if err != nil {
		r.file.close()
		return nil, err
	}
	if g.output, err = s.logs.open(g.number, config.Name, config.Logs); err != nil {
		// A full disk must not keep a service down: its output goes where ours goes.
		s.bus.publish(client.Event{Kind: client.EventProblem, Generation: g.number,
			Text: fmt.Sprintf("the output of generation %d is not kept: %v", g.number, scarce(err))})
	}
	if uid != os.Geteuid() && g.output.log != nil {
		g.output.log.Chown(uid, gid) // it may open /dev/stdout anew, as nginx does
	}
	g.journal = s.newJournal(g.number)
	s.hub.spawning.Lock()
	spec := config.spec()
	command := handover.Command{
		Path: r.Program, Args: append([]string{r.Program}, config.Argv[1:]...),
		Dir: config.Dir, Env: append(spec.Environ(os.Environ()), config.Env...),
		Stdout: g.output.stdout, Stderr: g.output.stderr, Group: true,
	}
	if config.Speaks != SpeaksNothing {
		command.Watchdog = g.watchdog.usec()
		command.Sockets, command.NotifySocket = s.common.sockets.of(config.Listen), s.hub.notify.Path()
	}
	if config.Speaks == SpeaksSegue {
		command.Solo, command.Journal, command.Generation, command.Control = s.common.solo, g.journal, g.number, s.hub.control.Path()
	}
	g.reaped, err = offspring.start(func() (pid int, err error) {
		if g.process, err = s.start(spec, command); err != nil {
			return 0, err
		}
		return g.process.PID, nil
	})
	if err == nil {
		s.hub.add(g)
	}
	s.hub.spawning.Unlock()
	if err != nil {
		r.file.close()
		g.endJournal()
		g.output.end()
		return nil, err
	}
	s.do(func() error {
		s.mu.Lock()
		s.view.alive = append(s.view.alive, g)
		s.mu.Unlock()
		s.become(g, client.RoleStarting)
		s.remember()
		return nil
	})
	s.beside.Go(func() { s.watch(g) })
	if config.Speaks == SpeaksNothing {
		s.beside.Go(func() { s.presume(g) })
	}
	return g, nil
}

// admit lets the processes of another user find the sockets of this service, which
// are theirs from now on.
func (s *Service) admit(uid, gid int) error {
	err := errors.Join(passable(s.dir), s.hub.control.Chown(uid, gid), s.hub.notify.Chown(uid, gid))
	if err != nil {
		return fmt.Errorf("cannot let user %d find the sockets of %s: %w", uid, s.name, err)
	}
	return nil
}

// spec is what is to happen between the supervisor and the program.
func (c Config) spec() launch.Spec {
	return launch.Spec{User: c.User, Group: c.Group, Umask: c.Umask, Limits: c.Limits, ListenPID: c.Speaks == SpeaksSystemd}
}

// presumed is how long a generation that says nothing must have lived to be taken
// for ready, if there is no probe that could tell.
const presumed = time.Second

// presume says that a generation is ready that cannot say so itself: as soon as
// its probes succeed.
func (s *Service) presume(g *generation) {
	pause := presumed
	if len(g.recipe.Config.Probes) > 0 {
		pause /= 10
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-g.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), g.recipe.Config.probesWithin())
		err := s.probe(ctx, g) // nil without probes
		cancel()
		if err == nil {
			g.becomesReady()
			return
		}
	}
}

// watch follows a generation to its end.
func (s *Service) watch(g *generation) {
	if g.watchdog != nil {
		s.beside.Go(func() { s.guard(g) })
	}
	<-g.Done()
	g.reaped()
	g.leave(handover.Stop, 0) // unless it was asked to leave already: for its children and its account
	<-g.retired
	s.hub.remove(g)
	g.output.end()
	s.do(func() error { s.exited(g); return nil })
	close(g.gone)
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
	code := g.process.ExitCode()
	s.exitCode.Store(int32(code))
	if s.view.state != client.Serving {
		return
	}
	config := s.recipe.Config
	switch config.after(code, g.watchdog.bit()) {
	case completed:
		s.stopping = &ending{began: time.Now(), last: g}
		s.enter(finished, "the service ended by itself")
	case repeated:
		s.enter(crashed, "generation "+describe(g)+", and is always started again")
		s.timer = time.NewTimer(s.crashes.by(config.Backoff).again(g.servedFor()))
	default:
		s.mu.Lock()
		s.view.crashed++
		s.mu.Unlock()
		s.enter(crashed, "generation "+describe(g))
		lines := outputLines
		if g.watchdog.bit() {
			lines = 0 // the end of a dump says nothing
		}
		s.failed(g.number, g.servedFor(), lines)
	}
}

func describe(g *generation) string { return fmt.Sprintf("%d %v", g.number, g.Err()) }

// pause is for a start that has failed.
func (s *Service) pause(served time.Duration) { s.failed(s.number, served, outputLines) }

// failed waits before the next start after a generation that has failed, or gives
// up with the last lines of its output, and has the hooks told.
func (s *Service) failed(number int, served time.Duration, lines int) {
	config, reason := s.recipe.Config, s.view.reason
	pause, over := s.crashes.by(config.Backoff).crash(served)
	occasions := []Occasion{OnCrash}
	if s.crashes.row == 2 {
		occasions = []Occasion{OnCrashLoop, OnCrash}
	}
	switch {
	case config.Restart == Never:
		reason = "the service failed, and is never started again: " + reason
	case over:
		reason = fmt.Sprintf("the service failed %d times in a row: %s", s.crashes.row, reason)
	default:
		s.timer = time.NewTimer(pause)
		s.hooks.tell(config, notice{Generation: number, Reason: reason}, occasions...)
		return
	}
	if output := s.logs.tail(number, lines); len(output) > 0 {
		reason += "; its last output was:\n" + strings.Join(output, "\n")
	}
	s.enter(giveUp, reason)
	for _, g := range s.view.alive {
		g.leave(handover.Drain, g.budget)
	}
	s.hooks.tell(config, notice{Generation: number, Reason: reason}, append([]Occasion{OnFailed}, occasions...)...)
}
