package handover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is a restart with fake generations in virtual time. Everything that is
// asked of the outside is a point with a number, at which a fault can be put.
type world struct {
	old, next *fake
	restart   Restart

	mu        sync.Mutex    // a generation gets ready beside Run
	log       []string      // what happened, in order
	faults    map[int]fault // by number of the point
	points    []string      // the names of the points that were reached
	cancel    context.CancelCauseFunc
	canceled  bool
	probe     func(n int) error // the n-th probe, from 0; nil for none
	probes    int
	bornReady bool
	moving    bool // there is a Move
}

// fault is what goes wrong at a point.
type fault int

const (
	fails fault = iota
	hangs
	newDies       // and the call fails
	newDiesAfter  // and the call succeeds all the same
	oldDies       // and a call to it fails
	canceled      // and the call fails
	canceledAfter // and the call succeeds all the same
	lastFault
)

func (f fault) String() string {
	return [...]string{"fails", "hangs", "new dies", "new dies after", "old dies", "canceled", "canceled after"}[f]
}

// hangsFor is longer than any budget; only a spawn, which has none, reaches it.
const hangsFor = 20 * time.Second

var errCanceled = errors.New("somebody changed their mind")

// fake is a generation.
type fake struct {
	w        *world
	name     string
	steer    bool
	ready    chan struct{}
	done     chan struct{}
	err      error
	accepts  bool
	answered map[Verb]int // verbs that happened
	asked    map[Verb]int
	ended    []bool            // End's arguments
	looked   func()            // when somebody asks whether it can be steered
	linkDown func(v Verb) bool // its link ends with this call; nil for never
}

func (w *world) fake(name string) *fake {
	return &fake{w: w, name: name, steer: true, ready: make(chan struct{}), done: make(chan struct{}), answered: map[Verb]int{}, asked: map[Verb]int{}}
}

func (f *fake) Ready() <-chan struct{} { return f.ready }
func (f *fake) Done() <-chan struct{}  { return f.done }
func (f *fake) Steerable() bool {
	if f.looked != nil {
		f.looked()
	}
	return f.steer
}
func (f *fake) End(graceful bool) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.ended = append(f.ended, graceful)
	f.w.log = append(f.w.log, fmt.Sprintf("%s END graceful=%v", f.name, graceful))
}

func (f *fake) Err() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

func (f *fake) die() {
	if f == nil {
		return
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if f.Err() == nil {
		f.err = errors.New("exited with status 9")
		f.accepts = false
		close(f.done)
	}
}

func (f *fake) Call(ctx context.Context, v Verb) error {
	f.asked[v]++
	if f.linkDown != nil && f.linkDown(v) {
		return ErrLinkClosed
	}
	err := f.w.point(ctx, f, f.name+" "+string(v))
	if err != nil {
		return err
	}
	f.answered[v]++
	switch v {
	case Open, Resume:
		f.accepts = true
	case Pause:
		f.accepts = false
	}
	return nil
}

// point is where the outside is asked; a millisecond passes.
func (w *world) point(ctx context.Context, f *fake, name string) error {
	w.mu.Lock()
	n := len(w.points)
	w.points = append(w.points, name)
	w.log = append(w.log, name)
	w.mu.Unlock()
	if fault, ok := w.faults[n]; ok {
		switch fault {
		case fails:
			return errors.New("refused")
		case hangs:
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(hangsFor):
				return errors.New("it took too long")
			}
		case newDies, newDiesAfter:
			w.next.die()
			if fault == newDies {
				return ErrLinkClosed
			}
			return nil
		case oldDies:
			w.old.die()
		case canceled, canceledAfter:
			w.mu.Lock()
			w.canceled = true
			w.mu.Unlock()
			w.cancel(errCanceled)
			if fault == canceled {
				return context.Cause(ctx)
			}
			return nil
		}
	}
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if f != nil && f.Err() != nil {
		return ErrLinkClosed
	}
	return nil
}

func newWorld() *world {
	w := &world{faults: map[int]fault{}}
	w.old = w.fake("old")
	w.old.accepts = true
	close(w.old.ready)
	w.next = w.fake("new")
	w.restart = Restart{ReadyTimeout: time.Second, Trial: 250 * time.Millisecond, Probation: 600 * time.Millisecond}
	return w
}

// run is the restart. It is called inside a bubble of synctest.
func (w *world) run(t *testing.T) (Generation, Report) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	w.cancel = cancel
	if w.old != nil {
		w.restart.Old = w.old
	}
	if w.moving {
		w.restart.Move = func(ctx context.Context, g Generation) string {
			if g != Generation(w.next) || w.old.answered[Pause] == 0 || w.next.asked[Proven] > 0 {
				t.Error("it moves to another generation, before PAUSE, or after PROVEN")
			}
			if end, ok := ctx.Deadline(); !ok || time.Until(end) > MoveTimeout {
				t.Error("the move has no end")
			}
			if err := w.point(ctx, w.old, "move"); err != nil {
				return err.Error()
			}
			return ""
		}
	}
	if w.probe != nil {
		w.restart.Probe = func(ctx context.Context, g Generation) error {
			if g != Generation(w.next) {
				t.Error("the probe is for another generation")
			}
			w.probes++
			if err := w.point(ctx, w.next, "probe"); err != nil {
				return err
			}
			return w.probe(w.probes - 1)
		}
	}
	spawned := false
	var getting sync.WaitGroup
	w.restart.Spawn = func(ctx context.Context) (Generation, error) {
		if err := w.point(ctx, nil, "spawn"); err != nil {
			return nil, err
		}
		spawned = true
		getting.Go(func() {
			select {
			case <-time.After(10 * time.Millisecond): // setup
			case <-ctx.Done():
				return
			}
			if w.point(ctx, w.next, "ready") == nil && !w.bornReady {
				close(w.next.ready)
			}
		})
		return w.next, nil
	}
	var began, ended []Step
	w.restart.Progress = func(s Step) {
		if s.Ended {
			ended = append(ended, s)
			w.mu.Lock()
			w.log = append(w.log, "| "+string(s.Name))
			w.mu.Unlock()
		} else {
			began = append(began, s)
		}
		if len(began) != len(ended) && len(began) != len(ended)+1 || s.Name != began[len(began)-1].Name {
			t.Errorf("steps do not come in pairs: %v", s)
		}
	}
	start := time.Now()
	g, r := w.restart.Run(ctx)
	w.check(t, g, r, spawned, time.Since(start))
	if len(began) != len(ended) || !slices.Equal(ended, r.Steps) {
		t.Errorf("progress told of %v, the report has %v", ended, r.Steps)
	}
	cancel(nil)
	getting.Wait()
	return g, r
}

// check is what holds after every restart, whatever went wrong.
func (w *world) check(t *testing.T, g Generation, r Report, spawned bool, took time.Duration) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var old Generation
	if w.old != nil {
		old = w.old
	}
	broken := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s\nfaults %v, report %+v\n%s", fmt.Sprintf(format, args...), w.faults, r, strings.Join(w.log, "\n"))
	}
	if (r.Outcome == Done) != (g != nil) {
		broken("outcome %s with generation %v", r.Outcome, g)
	}
	opened := slices.Index(w.log, "new OPEN")
	resumed := slices.Index(w.log, "old RESUME")
	ended := slices.IndexFunc(w.log, func(s string) bool { return strings.HasPrefix(s, "new END") })
	paused := slices.Index(w.log, "old PAUSE")
	if paused >= 0 && (opened < 0 || paused < opened || w.next.answered[Open] == 0) {
		broken("the old generation is paused before the new one has opened")
	}
	if want := g == nil && spawned; want != (len(w.next.ended) == 1) || len(w.next.ended) > 1 {
		broken("the new generation is ended %d times", len(w.next.ended))
	}
	if ended >= 0 && resumed > ended {
		broken("the new generation is ended before the old one has resumed")
	}
	if len(w.next.ended) == 1 {
		accepted := w.next.asked[Open] > 0
		if !w.next.steer {
			select {
			case <-w.next.ready:
				accepted = w.next.ended[0] // it may have been noticed or not
			default:
			}
		}
		if w.next.ended[0] != accepted {
			broken("ended with graceful=%v, has accepted: %v", w.next.ended[0], accepted)
		}
	}
	if old != nil {
		if len(w.old.ended) > 0 || w.old.asked[Stop]+w.old.asked[Drain]+w.old.asked[Open]+w.old.asked[Trial]+w.old.asked[Check] > 0 {
			broken("the old generation is asked for what is not its part")
		}
		if (w.old.asked[Resume] > 0) != (g == nil && w.old.asked[Pause] > 0 && (resumed >= 0 || w.old.Err() == nil)) {
			broken("paused %d times, resumed %d times", w.old.asked[Pause], w.old.asked[Resume])
		}
	}
	switch r.Outcome {
	case Done:
		if w.next.Err() != nil || w.canceled || r.Reason != "" || r.Failed != "" {
			broken("done, though the new generation %v, canceled %v", w.next.Err(), w.canceled)
		}
		if w.next.steer && !w.next.accepts {
			broken("done, and the new generation does not accept")
		}
	case RolledBack:
		if old == nil || w.old.Err() != nil || !w.old.accepts {
			broken("rolled back to a generation that does not serve")
		}
	case Failed:
		if old != nil && w.old.Err() == nil && w.old.asked[Resume] == w.old.answered[Resume] {
			broken("failed, though the old generation was there")
		}
	default:
		broken("outcome %q", r.Outcome)
	}
	if g == nil && (r.Reason == "" || r.Failed == "") {
		broken("no reason")
	}
	if w.canceled && g == nil && r.Failed != StepSpawn && r.Reason != errCanceled.Error() && w.next.Err() == nil {
		// The fault that was first is the reason; a cancellation after it is not.
		if len(w.faults) == 1 {
			broken("canceled, but the reason is another")
		}
	}
	if moved := slices.Index(w.log, "move"); moved >= 0 && resumed >= 0 && resumed < moved {
		broken("it moves after the old generation has resumed")
	}
	if limit := w.restart.ReadyTimeout + w.restart.Trial + w.restart.Probation + MoveTimeout + 7*CallTimeout + hangsFor; took > limit {
		broken("it took %v, more than %v", took, limit)
	}
}

func TestRestartInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.probe = func(int) error { return nil }
		g, r := w.run(t)
		if g != Generation(w.next) || w.old.accepts {
			t.Errorf("%v, %+v", g, r)
		}
		const want = "spawn,| spawn,ready,| ready,new TRIAL,new CHECK,probe,new CHECK,probe,new CHECK,probe,| trial," +
			"new OPEN,old PAUSE,| switch,new CHECK,probe,new CHECK,probe,new CHECK,probe,new PROVEN,| probation"
		if got := strings.Join(w.log, ","); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	})
}

// The move is before the point of no return, PROVEN after it.
func TestMoveInOrder(t *testing.T) {
	scene(t, func(w *world) { w.moving = true }, func(w *world, r Report) {
		log := strings.Join(w.log, ",")
		if r.Outcome != Done || !strings.HasSuffix(log, "new CHECK,| probation,move,new PROVEN,| move") {
			t.Errorf("%+v\n%s", r, log)
		}
	})
}

// pointOf is the number of a point in a move without faults.
func pointOf(t *testing.T, name string) (at int) {
	t.Helper()
	scene(t, func(w *world) { w.moving = true }, func(w *world, _ Report) {
		if at = slices.Index(w.points, name); at < 0 {
			t.Fatalf("%s is not reached", name)
		}
	})
	return at
}

// What goes wrong in the move is noted; only the end of the new generation, whoever
// notices it first, and a change of mind, roll back.
func TestMoveFails(t *testing.T) {
	for _, c := range []struct {
		at      string
		fault   fault
		outcome Outcome
		says    string // the note, or the reason
	}{
		{"move", fails, Done, "refused"},
		{"move", hangs, Done, "it was not over within 10s"},
		{"new CHECK after the move", hangs, RolledBack, "refused; and the new generation does not answer any more: nothing came within 5s"},
		{"new CHECK after the move", fails, Done, "refused"},
		{"new CHECK after the move", newDies, RolledBack, "the new generation exited with status 9"},
		{"move", oldDies, Done, ErrLinkClosed.Error()},
		{"move", newDies, RolledBack, "the new generation exited with status 9"},
		{"move", newDiesAfter, RolledBack, "the new generation exited with status 9"},
		{"move", canceled, RolledBack, errCanceled.Error()},
		{"move", canceledAfter, RolledBack, errCanceled.Error()},
		{"new PROVEN", fails, Done, "the new generation could not be told that it is proven: refused"},
		{"new PROVEN", hangs, Done, "the new generation could not be told that it is proven: nothing came within 5s"},
		{"new PROVEN", newDies, RolledBack, "the new generation exited with status 9"},
	} {
		faults := map[int]fault{}
		if c.at == "new CHECK after the move" {
			at := pointOf(t, "move")
			faults[at], faults[at+1] = fails, c.fault
		} else {
			faults[pointOf(t, c.at)] = c.fault
		}
		scene(t, func(w *world) { w.moving = true; w.faults = faults }, func(w *world, r Report) {
			step := r.Steps[5]
			switch {
			case r.Outcome != c.outcome || step.Name != StepMove:
				t.Errorf("%s %v: %+v", c.at, c.fault, r)
			case r.Outcome == RolledBack && (r.Failed != StepMove || r.Reason != c.says || !w.old.accepts):
				t.Errorf("%s %v: %+v", c.at, c.fault, r)
			case r.Outcome == Done && (step.Note != c.says || step.Error != "" || w.next.asked[Proven] != 1):
				t.Errorf("%s %v: %+v", c.at, c.fault, r)
			}
		})
	}
}

// A generation that could not be paused is not asked to move anything.
func TestNothingMovesUnpaused(t *testing.T) {
	at := pointOf(t, "old PAUSE")
	scene(t, func(w *world) { w.moving = true; w.faults[at] = fails }, func(w *world, r Report) {
		if r.Outcome != Done || len(r.Steps) != 5 || w.next.asked[Proven] != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// A process that was killed closes its ends a moment before it can be reaped: the
// move and the link notice first.
func TestMoveNoticesTheDeathFirst(t *testing.T) {
	at := pointOf(t, "move")
	for _, reaped := range []time.Duration{0, exitNoticed / 2, exitNoticed * 2} {
		scene(t, func(w *world) {
			w.moving = true
			w.faults[at] = fails
			w.next.linkDown = func(v Verb) bool {
				if v == Proven {
					time.AfterFunc(reaped, w.next.die)
				}
				return v == Proven
			}
		}, func(w *world, r Report) {
			want := "the new generation exited with status 9"
			if reaped > exitNoticed {
				want = ErrLinkClosed.Error()
			}
			if r.Outcome != RolledBack || r.Failed != StepMove || r.Reason != want || !w.old.accepts {
				t.Errorf("reaped after %v: %+v", reaped, r)
			}
		})
	}
}

// Every fault at every point, and every pair of faults.
func TestRestartWithEveryFault(t *testing.T) {
	variants := map[string]func() *world{
		"supervised": newWorld,
		"probed":     func() *world { w := newWorld(); w.probe = func(int) error { return nil }; return w },
		"first start": func() *world {
			w := newWorld()
			w.old = nil
			return w
		},
		"moving":          func() *world { w := newWorld(); w.moving = true; return w },
		"unsteerable new": func() *world { w := newWorld(); w.next.steer = false; return w },
		"unsteerable old": func() *world { w := newWorld(); w.old.steer = false; return w },
		"unsteerable":     func() *world { w := newWorld(); w.old.steer, w.next.steer = false, false; return w },
	}
	for name, make := range variants {
		t.Run(name, func(t *testing.T) {
			run := func(faults map[int]fault) int {
				reached := 0
				synctest.Test(t, func(t *testing.T) {
					w := make()
					w.faults = faults
					w.run(t)
					reached = len(w.points)
				})
				return reached
			}
			points := run(nil)
			for i := range points {
				for f := range lastFault {
					reached := run(map[int]fault{i: f})
					if testing.Short() {
						continue
					}
					for j := i + 1; j < reached; j++ {
						for second := range lastFault {
							run(map[int]fault{i: f, j: second})
						}
					}
					if t.Failed() {
						t.FailNow()
					}
				}
			}
		})
	}
}

// scene is one restart with something out of the ordinary, and what comes of it.
func scene(t *testing.T, set func(w *world), look func(w *world, r Report)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		set(w)
		_, r := w.run(t)
		look(w, r)
	})
}

// failing fails the given probes.
func failing(which ...int) func(int) error {
	return func(n int) error {
		if slices.Contains(which, n) {
			return fmt.Errorf("probe %d failed", n)
		}
		return nil
	}
}

func TestTrialToleratesNothing(t *testing.T) {
	for n := range 3 {
		scene(t, func(w *world) { w.probe = failing(n) }, func(w *world, r Report) {
			if r.Outcome != RolledBack || r.Failed != StepTrial || r.Reason != fmt.Sprintf("probe %d failed", n) || w.old.asked[Pause] > 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// In probation two failures in a row are forgiven, three are not, and what the
// last probe says counts.
func TestProbationTolerates(t *testing.T) {
	for _, c := range []struct {
		probation time.Duration
		failing   []int // from 0, the first after the trial
		outcome   Outcome
	}{
		{1100 * time.Millisecond, nil, Done},
		{1100 * time.Millisecond, []int{0, 1}, Done},
		{1100 * time.Millisecond, []int{0, 1, 3}, Done},
		{1100 * time.Millisecond, []int{1, 2, 3}, RolledBack},
		{1100 * time.Millisecond, []int{4}, RolledBack}, // the last word
		{0, []int{0}, RolledBack},
		{0, nil, Done},
	} {
		scene(t, func(w *world) {
			w.restart.Trial, w.restart.Probation = 0, c.probation
			w.probe = func(n int) error { return failing(c.failing...)(n - 1) }
		}, func(w *world, r Report) {
			if r.Outcome != c.outcome || c.outcome == RolledBack && (r.Failed != StepProbation || !strings.Contains(r.Reason, "failed")) {
				t.Errorf("%+v: %+v\n%s", c, r, strings.Join(w.log, "\n"))
			}
		})
	}
}

func TestOldThatDoesNotPauseIsNotKept(t *testing.T) {
	for _, f := range []fault{fails, hangs, oldDies} {
		var at int
		scene(t, func(*world) {}, func(w *world, _ Report) { at = slices.Index(w.points, "old PAUSE") })
		scene(t, func(w *world) { w.faults[at] = f }, func(w *world, r Report) {
			note := r.Steps[3].Note
			if r.Outcome != Done || !strings.HasPrefix(note, "the old generation could not be paused: ") {
				t.Errorf("%v: %+v", f, r)
			}
		})
	}
	scene(t, func(w *world) { w.old.steer = false }, func(w *world, r Report) {
		if r.Outcome != Done || r.Steps[3].Note != "the old generation cannot be paused: both accept until it has left" {
			t.Errorf("%+v", r)
		}
	})
}

func TestOldThatDoesNotResume(t *testing.T) {
	for _, f := range []fault{fails, hangs, oldDies} {
		set := func(w *world) { w.probe = func(n int) error { return failing(3, 4, 5)(n) } }
		var at int
		scene(t, set, func(w *world, r Report) {
			if at = slices.Index(w.points, "old RESUME"); at < 0 || r.Outcome != RolledBack || !w.old.accepts {
				t.Fatalf("%+v\n%s", r, strings.Join(w.log, "\n"))
			}
		})
		scene(t, func(w *world) { set(w); w.faults[at] = f }, func(w *world, r Report) {
			last := r.Steps[len(r.Steps)-1]
			if r.Outcome != Failed || last.Name != StepRollback || !strings.HasPrefix(last.Error, "the old generation did not resume: ") {
				t.Errorf("%v: %+v", f, r)
			}
		})
	}
}

// With the old one gone there is nothing to go back to, and clients wait.
func TestOldDiesMeanwhile(t *testing.T) {
	scene(t, func(w *world) {
		w.restart.Trial, w.restart.Probation = time.Hour, time.Hour
		w.faults[3] = oldDies
	}, func(w *world, r Report) {
		if r.Outcome != Done || r.Steps[2].Took > time.Second || !strings.Contains(r.Steps[2].Note, "cut short: the old generation exited with status 9") {
			t.Errorf("%+v", r)
		}
	})
}

func TestNotReadyInTime(t *testing.T) {
	scene(t, func(w *world) { w.faults[1] = hangs }, func(w *world, r Report) {
		if r.Outcome != RolledBack || r.Failed != StepReady || r.Reason != "the new generation did not become ready within 1s" || !w.old.accepts {
			t.Errorf("%+v", r)
		}
	})
	scene(t, func(w *world) { w.restart.ReadyTimeout = 0; w.bornReady = true; close(w.next.ready) }, func(w *world, r Report) {
		if r.Outcome != Done {
			t.Errorf("ready at birth: %+v", r)
		}
	})
}

// A generation that cannot be steered accepts when it is ready: given up in that
// moment, it still has clients.
func TestUnsteerableIsEndedGracefully(t *testing.T) {
	scene(t, func(w *world) {
		w.next.steer = false
		w.next.looked = func() { w.canceled = true; w.cancel(errCanceled) }
	}, func(w *world, r Report) {
		if r.Outcome != RolledBack || r.Failed != StepReady || !slices.Equal(w.next.ended, []bool{true}) {
			t.Errorf("%+v, ended %v", r, w.next.ended)
		}
	})
}

// A hung call is given up after CallTimeout and says so.
func TestHungCall(t *testing.T) {
	scene(t, func(w *world) { w.faults[2] = hangs }, func(w *world, r Report) {
		if r.Failed != StepTrial || r.Reason != "nothing came within 5s" {
			t.Errorf("%+v", r)
		}
	})
}

// The end of the new generation is the reason even when a probe noticed first.
func TestReasonIsTheDeath(t *testing.T) {
	scene(t, func(w *world) {
		w.probe = func(n int) error {
			if n == 1 {
				time.AfterFunc(exitNoticed/2, w.next.die)
				return errors.New("connection reset")
			}
			return nil
		}
	}, func(w *world, r Report) {
		if r.Failed != StepTrial || r.Reason != "the new generation exited with status 9" {
			t.Errorf("%+v", r)
		}
	})
}

func TestSpawnFailsAtOnce(t *testing.T) {
	scene(t, func(w *world) { w.faults[0] = fails }, func(w *world, r Report) {
		if r.Outcome != RolledBack || r.Failed != StepSpawn || r.Reason != "refused" || r.Steps[0].Took != 0 {
			t.Errorf("%+v", r)
		}
	})
}
