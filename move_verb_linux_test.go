package segue

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/segue-go/segue/handover"
)

// undecided receives connections and says nothing until it is told to.
type undecided struct {
	answer func(batch uint64, refusals []string) error
	taken  chan uint64
	gone   chan struct{}
	ended  chan struct{} // the way is closed
}

func (u *undecided) Take(batch uint64, _ bool, _ [][]byte, files []int) {
	for _, fd := range files {
		os.NewFile(uintptr(fd), "taken").Close()
	}
	u.taken <- batch
}
func (u *undecided) Go(uint64, [][]byte)            {}
func (u *undecided) Late(uint64, int, []byte, bool) {}
func (u *undecided) Gone()                          { close(u.gone) }

// hesitates is the end of a move at which nothing is decided.
func hesitates(t *testing.T, f *os.File) *undecided {
	t.Helper()
	u := &undecided{taken: make(chan uint64, 8), gone: make(chan struct{}), ended: make(chan struct{})}
	a, err := handover.NewArrival(f, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(u.ended)
		a.Run(func(_ string, answer func(uint64, []string) error) (handover.Passengers, error) {
			u.answer = answer
			return u, nil
		})
	}()
	t.Cleanup(func() { a.Close(); receive(t, "the move ends", u.ended) })
	return u
}

// answered is what a verb came to.
type answered struct {
	handover.Fields
	error
}

func (a answered) String() string { return fmt.Sprint(a.Fields, a.error) }

// moves begins a MOVE to f, and closes that.
func (s *one) moves(t *testing.T, f *os.File) <-chan answered {
	done := make(chan answered, 1)
	go func() {
		fields, err := s.l.Call(t.Context(), handover.Move, handover.Fields{"TO": here()}, f)
		f.Close()
		done <- answered{fields, err}
	}()
	return done
}

// idles waits until the process has seen that n of its open connections have
// nothing under way, and that the others have gone, both of which is a moment later
// than their clients have seen it, and pauses it.
func (s *one) idles(t *testing.T, n, open int) {
	t.Helper()
	until(t, "connections are idle", func() bool {
		stats := s.m.app.servers[0].stats()
		return stats.Idle == n && stats.Open == open
	})
	say(t, s.l, handover.Pause, nil)
}

// joined adopts and moves connections of s, and returns what MOVE says.
func (s *one) joined(t *testing.T, to *one) answered {
	t.Helper()
	a, b := pair(t)
	say(t, to.l, handover.Adopt, handover.Fields{"FROM": here()}, b)
	b.Close()
	return receive(t, "MOVE is answered", s.moves(t, a))
}

// TestMoveThenDrain: what is busy in MOVE goes in the drain, by the same way, and
// is counted with the others. In between nobody is told anything.
func TestMoveThenDrain(t *testing.T) {
	h := newHolder(t)
	from, to := single(t, Options{}, web(h)), single(t, Options{}, web(http.HandlerFunc(hello)))
	idle, busy := dial(t, "tcp", from.addr(t)), dial(t, "tcp", from.addr(t))
	idle.get(t, "/hello")
	busy.send("/slow")
	receive(t, "the request is in flight", h.entered)
	from.idles(t, 1, 2)
	if r := from.joined(t, to); r.error != nil || r.Fields["MOVED"] != "1" || len(r.Fields) != 1 {
		t.Fatalf("%v", r)
	}
	if from.app.Phase() != Paused {
		t.Errorf("it is %v", from.app.Phase())
	}
	if _, body := idle.get(t, "/"); body != "hello" {
		t.Errorf("answered %q", body)
	}
	say(t, from.l, handover.Drain, handover.Fields{"BUDGET": "20s"})
	h.release()
	if resp, body, err := busy.receive(); err != nil || body != "held" || resp.Close {
		t.Errorf("answered %q, %v", body, err)
	}
	until(t, "it is served by the other one", func() bool { _, body := busy.get(t, "/hello2"); return body == "hello" })
	report, err := from.ended(t)
	if err != nil || report.Moved["http1"] != 2 || len(report.Stayed)+len(report.Goodbyes)+len(report.Cut) != 0 || report.MoveFailure != "" {
		t.Errorf("%v, %+v", err, report)
	}
}

// TestMoveOfNothing is over at once, whichever way it is asked for, and nothing is
// left of it after RESUME.
func TestMoveOfNothing(t *testing.T) {
	from, to := single(t, Options{}, web(http.HandlerFunc(hello))), single(t, Options{}, web(http.HandlerFunc(hello)))
	for range 2 {
		say(t, from.l, handover.Pause, nil)
		if r := from.joined(t, to); r.error != nil || r.Fields["MOVED"] != "0" || len(r.Fields) != 1 {
			t.Errorf("%v", r)
		}
		say(t, from.l, handover.Resume, nil)
	}
	if body := once(t, "tcp", from.addr(t)); body != "hello" {
		t.Errorf("answered %q", body)
	}
}

// TestMoveRefused unless it can be taken back. The way is closed then.
func TestMoveRefused(t *testing.T) {
	s := single(t, Options{}, web(http.HandlerFunc(hello)))
	refused := func(says string) {
		t.Helper()
		a, b := pair(t)
		u := hesitates(t, b)
		if r := receive(t, "MOVE is answered", s.moves(t, a)); r.error == nil || !strings.Contains(r.Error(), says) {
			t.Errorf("MOVE: %v; want a refusal that says %q", r.error, says)
		}
		receive(t, "the way is closed", u.ended)
	}
	refused("cannot move connections while the service is ready")
	if _, err := s.l.Call(t.Context(), handover.Move, handover.Fields{"TO": here()}); err == nil || !strings.Contains(err.Error(), "0 descriptors came with MOVE") {
		t.Errorf("MOVE without a descriptor: %v", err)
	}
	say(t, s.l, handover.Pause, nil)
	a, b := pair(t)
	hesitates(t, b)
	if r := receive(t, "MOVE is answered", s.moves(t, a)); r.error != nil {
		t.Error(r.error)
	}
	refused("cannot move connections twice")
}

// TestResumeDuringMove: the connection whose verdict is open is this process's as
// before, and the next successor gets it by another way.
func TestResumeDuringMove(t *testing.T) {
	from, to := single(t, Options{}, web(http.HandlerFunc(hello))), single(t, Options{}, web(http.HandlerFunc(sayPID)))
	c := dial(t, "tcp", from.addr(t))
	c.get(t, "/")
	for range 2 {
		from.idles(t, 1, 1)
		a, b := pair(t)
		u := hesitates(t, b)
		move := from.moves(t, a)
		batch := receive(t, "the connection has arrived", u.taken)
		say(t, from.l, handover.Resume, nil)
		if r := receive(t, "MOVE is answered", move); r.error != nil || r.Fields["MOVED"] != "0" || r.Fields["FAILURE"] == "" {
			t.Errorf("MOVE: %v", r)
		}
		receive(t, "the way is closed", u.gone)
		if u.answer(batch, []string{""}) == nil {
			t.Error("a verdict could be sent still")
		}
		if resp, body := c.get(t, "/"); body != "hello" || resp.Close {
			t.Errorf("answered %q, close=%v", body, resp.Close)
		}
		if body := once(t, "tcp", from.addr(t)); body != "hello" {
			t.Errorf("a new client is answered %q", body)
		}
	}
	from.idles(t, 1, 1)
	if r := from.joined(t, to); r.error != nil || r.Fields["MOVED"] != "1" {
		t.Errorf("MOVE: %v", r)
	}
	if _, body := c.get(t, "/"); body != here() {
		t.Errorf("answered %q", body)
	}
}

// TestDrainDuringMove waits for it: a move that took too long for the restart is
// none the worse.
func TestDrainDuringMove(t *testing.T) {
	s := single(t, Options{}, web(http.HandlerFunc(hello)))
	c := dial(t, "tcp", s.addr(t))
	c.get(t, "/")
	s.idles(t, 1, 1)
	a, b := pair(t)
	u := hesitates(t, b)
	move := s.moves(t, a)
	batch := receive(t, "the connection has arrived", u.taken)
	say(t, s.l, handover.Drain, handover.Fields{"BUDGET": "20s"})
	awaitEvent(t, s.record, func(e PhaseChanged) bool { return e.To == Draining })
	if err := u.answer(batch, []string{""}); err != nil {
		t.Fatal(err)
	}
	if r := receive(t, "MOVE is answered", move); r.error != nil || r.Fields["MOVED"] != "1" {
		t.Errorf("MOVE: %v", r)
	}
	report, err := s.ended(t)
	if err != nil || total(report.Moved) != 1 || len(report.Cut)+len(report.Stayed) != 0 {
		t.Errorf("%v, %+v", err, report)
	}
}

// TestDrainBudgetDuringMove: a receiver that never says anything costs the budget,
// and its connections are served here until then.
func TestDrainBudgetDuringMove(t *testing.T) {
	s := single(t, Options{}, web(http.HandlerFunc(hello)))
	c := dial(t, "tcp", s.addr(t))
	c.get(t, "/")
	s.idles(t, 1, 1)
	a, b := pair(t)
	u := hesitates(t, b)
	move := s.moves(t, a)
	receive(t, "the connection has arrived", u.taken)
	say(t, s.l, handover.Drain, handover.Fields{"BUDGET": "300ms"})
	if r := receive(t, "MOVE is answered", move); r.error != nil || r.Fields["FAILURE"] == "" {
		t.Errorf("MOVE: %v", r)
	}
	report, err := s.ended(t)
	if err != nil || len(report.Cut) != 1 || len(report.Moved) != 0 {
		t.Errorf("%v, %+v", err, report)
	}
	c.closed(t)
}

// TestStopDuringMove: with nobody to follow the connection stays, and is told to
// come back.
func TestStopDuringMove(t *testing.T) {
	s := single(t, Options{}, web(http.HandlerFunc(hello)))
	c := dial(t, "tcp", s.addr(t))
	c.get(t, "/")
	s.idles(t, 1, 1)
	a, b := pair(t)
	u := hesitates(t, b)
	move := s.moves(t, a)
	receive(t, "the connection has arrived", u.taken)
	say(t, s.l, handover.Stop, nil)
	receive(t, "MOVE is answered", move)
	until(t, "it is told with an answer", func() bool { resp, _ := c.get(t, "/"); return resp.Close })
	report, err := s.ended(t)
	if err != nil || len(report.Cut)+len(report.Moved) != 0 || report.Successor {
		t.Errorf("%v, %+v", err, report)
	}
}
