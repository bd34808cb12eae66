package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// greetPatience is how long a generation may take to dial its new supervisor;
// package segue tries every two seconds at least.
const greetPatience = 10 * time.Second

// adopt goes on with the generations of a supervisor that is gone: it hears them
// again, has their sockets again, and decides who serves. The service is as it
// was, with one exception: of a restart that was under way the newer generation
// stays if it served already, and the other one leaves in order.
func (s *Service) adopt(old *memory, alive []*generation) error {
	s.recipe, s.previous = old.Recipe, old.Previous
	s.planned = old.Planned
	s.view.config = old.Recipe.Config
	s.view.restarts, s.view.rolledBack, s.view.crashed, s.view.last = old.Restarts, old.RolledBack, old.Crashes, old.Report
	for _, g := range alive {
		if g.uid != os.Geteuid() {
			if err := s.admit(g.uid, -1); err != nil {
				return err
			}
		}
		s.hub.add(g)
		forget, err := offspring.start(func() (int, error) { return g.process.PID, nil })
		if err != nil {
			return err
		}
		g.reaped = forget
		g.output = s.logs.adopt(g.number, g.process.PID)
		s.view.alive = append(s.view.alive, g)
	}
	s.first, s.seen = alive[0].number, map[int]int64{}
	for _, g := range alive {
		s.seen[g.number] = s.logs.size(g.number)
	}
	s.hub.start()
	s.greet(old, alive)

	current := chosen(alive)
	if err := s.inherit(old, alive, current); err != nil {
		return err
	}
	s.reopen(current)
	s.adopted = true
	s.view.since = time.Now()
	if current != nil {
		s.view.current, s.view.state, s.view.since = current, client.Serving, current.served
	}
	return nil
}

// greet waits until everybody is heard again who was before.
func (s *Service) greet(old *memory, alive []*generation) {
	ctx, cancel := context.WithTimeout(context.Background(), greetPatience)
	defer cancel()
	for _, r := range old.Generations {
		for _, g := range alive {
			if g.number == r.Number && r.Managed {
				select {
				case <-g.linked:
				case <-g.Done():
				case <-ctx.Done():
				}
			}
		}
	}
}

// chosen is who serves: the newest that accepts, whatever was written down of it,
// or else the newest that has and can be resumed.
func chosen(alive []*generation) *generation {
	for _, may := range []func(*generation) bool{
		(*generation).accepts,
		func(g *generation) bool { return g.role == client.RoleServing || g.role == client.RolePaused },
	} {
		for _, g := range slices.Backward(alive) {
			if g.Err() == nil && may(g) {
				return g
			}
		}
	}
	return nil
}

// inherit gets the listening sockets back: from the program that was executed
// before, else from the generations that have them.
func (s *Service) inherit(old *memory, alive []*generation, current *generation) error {
	lent := map[string]*os.File{} // by name and address
	defer func() {
		for _, f := range lent {
			f.Close()
		}
	}()
	var why []error
	for _, held := range old.Sockets {
		f := s.estate().take(s.name + "/socket/" + held.Name)
		if f == nil && len(lent) == 0 && current != nil {
			sockets, err := s.borrow(old, current)
			why = append(why, err)
			for _, o := range sockets {
				lent[o.Name+" "+addressOf(o)] = o.File
			}
		}
		if f == nil {
			f = lent[held.Name+" "+held.Addr]
			delete(lent, held.Name+" "+held.Addr)
		}
		if f == nil {
			continue
		}
		var by *generation
		if n := slices.IndexFunc(alive, func(g *generation) bool { return held.By > 0 && g.number == held.By }); n >= 0 {
			by = alive[n]
		} else if held.By > 0 {
			by = current // whoever opened it is gone; somebody must have
		}
		if !s.common.sockets.has(held.Name) { // another instance may have brought it
			why = append(why, s.common.sockets.take(held.Name, f, held.Listen, by))
		}
		f.Close()
	}
	// What nobody has is opened anew, unless somebody serves it: that fails, and
	// says so.
	if _, err := s.common.sockets.open(old.Recipe.Config.Listen); err != nil {
		return errors.Join(append(why, err, s.cannotAdopt(alive))...)
	}
	if s.common.solo == nil && current != nil {
		s.common.solo = soloOf(current.process.PID)
	}
	return nil
}

// addressOf is where a socket listens; "" if it does not.
func addressOf(o handover.Socket) string {
	ln, err := o.Listener()
	if err != nil {
		return ""
	}
	defer ln.Close()
	return handover.JoinAddr(ln.Addr())
}

// borrow asks a generation for its sockets, or takes them from a program that
// cannot be asked.
func (s *Service) borrow(old *memory, g *generation) ([]handover.Socket, error) {
	if l := g.wire(); l != nil {
		ctx, cancel := context.WithTimeout(context.Background(), handover.CallTimeout)
		defer cancel()
		sockets, err := l.Borrow(ctx)
		if err == nil {
			return sockets, nil
		}
	}
	return handover.Borrow(g.process.PID, g.process.Started(), func(a net.Addr) string {
		for _, held := range old.Sockets {
			if held.Addr == handover.JoinAddr(a) {
				return held.Name
			}
		}
		return ""
	})
}

func (s *Service) cannotAdopt(alive []*generation) error {
	var pids []int
	for _, g := range alive {
		pids = append(pids, g.process.PID)
	}
	return survived(s.name, alive[len(alive)-1].number, pids)
}

// reopen has the files of programs open again that a rollback may need.
func (s *Service) reopen(current *generation) {
	s.recipe.file = s.estate().executable(s.name+"/program", s.recipe)
	if s.recipe.file == nil && current != nil {
		// The file of the process is an interpreter's if the program is a script.
		s.recipe.file = s.recipe.found(fmt.Sprintf("/proc/%d/exe", current.process.PID), s.recipe.Program)
	}
	if current != nil {
		current.recipe.file = s.recipe.file
	}
	if s.previous == nil {
		return
	}
	s.previous.file = s.estate().executable(s.name+"/previous", *s.previous)
	if s.previous.file == nil {
		s.previous.file = s.previous.found(s.previous.Program)
	}
	if s.previous.file == nil {
		s.previous = nil // another file is in its place, and nobody has it open
		return
	}
	s.view.previous = &s.previous.Proven
}

// executable is a program's file that was left, if it is the one of r.
func (e *estate) executable(name string, r recipe) *executable {
	f := e.take(name)
	if f == nil {
		return nil
	}
	info, err := f.Stat()
	if err != nil || mark(info) != r.Mark {
		f.Close()
		return nil
	}
	return &executable{path: r.Program, file: f, info: info}
}

// soloOf is the lock for solo tasks that a process has; nil if it has none.
func soloOf(pid int) *os.File {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "/memfd:segue-solo") {
			if f, err := os.OpenFile(fd, os.O_RDWR, 0); err == nil {
				return f
			}
		}
	}
	return nil
}

// goOn has everybody leave who does not serve, and the one resumed that was paused
// for one who is gone. It is the beginning of Run after adopt.
func (s *Service) goOn() {
	g := s.view.current
	for _, other := range s.view.alive {
		s.beside.Go(func() { s.watch(other) })
		if other != g {
			other.makeWay(other.budget, func() passage { return other.opened(context.Background(), g) })
		}
	}
	if g == nil {
		s.begin(s.anew(), "restart", nil)
		return
	}
	if !g.accepts() {
		ctx, cancel := context.WithTimeout(context.Background(), handover.CallTimeout)
		err := g.Call(ctx, handover.Resume)
		cancel()
		if err != nil {
			s.bus.publish(client.Event{Kind: client.EventProblem, Text: fmt.Sprintf("generation %d, which was paused, cannot be resumed: %v", g.number, err)})
		}
	}
	s.become(g, client.RoleServing)
	s.bus.publish(client.Event{Kind: client.EventState, State: client.Serving, Text: fmt.Sprintf("taken over: generation %d, process %d", g.number, g.process.PID)})
	s.remember()
}
