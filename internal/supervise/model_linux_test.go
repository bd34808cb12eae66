package supervise

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-go/segue/client"
	"pgregory.net/rapid"
)

// TestModel has random things happen to a service with random generations, thousands
// of times, and holds what it does against the rules (world): the loop, the attempts,
// the ladder and the back-off are the real ones, the processes are not there, and time
// is virtual. With SEGUE_SOAK=1 it is tens of thousands of times.
func TestModel(t *testing.T) {
	times(t, 600, 30_000)
	// What is watched by this is watched from outside of the bubbles, whose goroutines
	// must not wait for the kernel.
	outside, err := watchDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer outside.close()
	home, err := os.MkdirTemp("/dev/shm", "segue-model-") // in memory
	if err != nil {
		home = t.TempDir()
	}
	defer os.RemoveAll(home)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		p := plans.Draw(t, "plan")
		n++
		dir := filepath.Join(home, strconv.Itoa(n))
		before := descriptors()
		w := &world{plan: p}
		w.bubble(t, func() { w.play(dir) })
		if verdict := w.verdict(); verdict != "" {
			t.Fatal(verdict)
		}
		for _, d := range descriptors() {
			if !slices.Contains(before, d) && !strings.Contains(d, "/proc/") {
				t.Errorf("a descriptor is left: %s", d)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	})
}

// times sets how often the property is checked, unless -rapid.checks says so.
func times(t *testing.T, usual, soak int) {
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "rapid.checks" })
	if os.Getenv("SEGUE_SOAK") != "" {
		usual = soak
	}
	set := func(name, value string) {
		before := flag.Lookup(name).Value.String()
		flag.Set(name, value)
		t.Cleanup(func() { flag.Set(name, before) })
	}
	if !said {
		set("rapid.checks", strconv.Itoa(usual))
	}
	set("rapid.nofailfile", "true")
}

// bubble runs f. That goroutines are left at its end is a failure like any other.
func (w *world) bubble(t *rapid.T, f func()) {
	defer func() {
		if r := recover(); r != nil {
			stacks := make([]byte, 1<<20)
			w.broken("%v; all goroutines:\n%s", r, stacks[:runtime.Stack(stacks, true)])
		}
	}()
	rapid.SyncTest(t, func(*rapid.T) { f() })
}

// play is one run.
func (w *world) play(dir string) {
	w.began = time.Now()
	p, c := w.plan, w.plan.config
	c.RuntimeDir = filepath.Join(dir, "run")
	c.Argv = []string{filepath.Join(dir, "app")}
	if c.Speaks != SpeaksNothing {
		c.Listen = []Listen{{Name: "web", Addr: "127.0.0.1:0"}}
	}
	os.Mkdir(dir, 0o700)
	for _, name := range []string{"app", "app0", "app1", "app2", "app3"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o700); err != nil {
			w.broken("%v", err)
			return
		}
	}
	s, err := New(c)
	if err != nil {
		w.broken("%v", err)
		return
	}
	w.s, s.start, s.crashes.random = s, w.start, func() float64 { return 0.5 }
	s.hub.starting.Do(func() {}) // actors need no sockets
	s.bound.logs.dir = filepath.Join(dir, "nowhere")
	account := onlooker(w)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	r := &runner{world: w, dir: dir, config: c, listened: []string{"web"}, end: cancel}
	for _, a := range p.actions {
		w.mu.Lock()
		w.log(nil, "DO %v", a)
		w.mu.Unlock()
		r.act(a)
		switch {
		case a.then > 0:
			time.Sleep(a.then)
			fallthrough
		case a.then == 0:
			synctest.Wait()
			w.still()
			account.read()
		}
	}
	for range 5 { // longer than anything may take
		time.Sleep(40 * time.Second)
		synctest.Wait()
		w.still()
		account.read()
	}
	account.atRest()
	r.atRest()
	r.act(action{kind: stops})
	select {
	case <-ran:
	case <-time.After(5 * time.Minute):
		w.mu.Lock()
		w.broken("the service does not end")
		w.mu.Unlock()
	}
	synctest.Wait()
	account.read()
	w.atEnd()
}

// runner does what is done to the service.
type runner struct {
	*world
	dir       string
	config    Config // that was wanted last
	changing  bool
	listened  []string // names of the sockets of all configurations there were
	installed int
	end       func()
}

func (r *runner) act(a action) {
	ctx := context.Background()
	switch a.kind {
	case restarts:
		r.ask("restart", func() (client.Report, error) { return r.s.Restart(ctx, client.RestartRequest{}) })
	case restartsOther:
		other := client.RestartRequest{Binary: filepath.Join(r.dir, fmt.Sprint("app", a.arg))}
		r.ask("restart", func() (client.Report, error) { return r.s.Restart(ctx, other) })
	case installs:
		r.installed++
		path := filepath.Join(r.dir, "app")
		os.WriteFile(path+".new", make([]byte, r.installed), 0o700)
		os.Rename(path+".new", path)
	case rollsBack:
		r.ask("rollback", func() (client.Report, error) { return r.s.Rollback(ctx) })
	case changesAlike, changes, changesSockets:
		r.change(a)
	case reloads:
		go r.s.Reload(ctx)
	case stops:
		r.ends()
		r.ask("stop", func() (client.Report, error) { return r.s.Stop(ctx) })
	case forces:
		r.ends()
		go r.s.Force()
	case ends:
		r.ends()
		r.end()
	case crashes, asksUpgrade, speaksAgain:
		r.happensTo(a)
	}
}

// ends notes that the service was told to end.
func (w *world) ends() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ending {
		w.ending, w.since = true, time.Now()
	}
}

func (r *runner) happensTo(a action) {
	r.mu.Lock()
	all := r.living()
	if len(all) == 0 {
		r.mu.Unlock()
		return
	}
	who := all[min(a.who, len(all)-1)]
	if a.kind == crashes {
		who.excuses("crashes")
		who.die(a.arg)
	}
	known := who.g != nil && who.saidReady
	r.mu.Unlock()
	switch {
	case !known:
	case a.kind == asksUpgrade:
		go who.upgrades()
	case a.kind == speaksAgain:
		go who.speak()
	}
}

func (r *runner) change(a action) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changing {
		return // there is one at a time: the supervisor sees to that
	}
	r.changing = true
	c := r.config
	switch a.kind {
	case changesAlike:
		c.KillAfter = time.Duration(1+a.arg) * time.Second
	case changes:
		c.Env = []string{fmt.Sprint("SETTING=", a.arg)}
	case changesSockets:
		c.Listen = append(c.Listen[:len(c.Listen):len(c.Listen)], Listen{Name: fmt.Sprint("admin", len(c.Listen)), Addr: "127.0.0.1:0"})
	}
	go r.answer("change", func() (client.Report, error) {
		report, err := r.s.Change(context.Background(), c)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.changing = false; err == nil && report.Outcome == client.Done {
			r.config = c
			for _, l := range c.Listen {
				r.listened = append(r.listened, l.Name)
			}
		}
		return report, err
	})
}

// atRest: what was changed is changed, unless it was rolled back.
func (r *runner) atRest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending || r.state() != client.Serving {
		return
	}
	for _, o := range r.s.common.sockets.each() {
		r.check(slices.Contains(r.listened, o.Name), "socket %q is open, and nobody has wanted it but in vain", o.Name)
	}
	r.check(equal(r.s.planned, r.config), "the plan is %v %v, and was changed to %v %v", r.s.planned.Env, r.s.planned.KillAfter, r.config.Env, r.config.KillAfter)
	if slices.ContainsFunc(r.plan.actions, func(a action) bool { return a.kind == rollsBack }) {
		return
	}
	is := r.s.view.config
	r.check(equal(is, r.config) && is.KillAfter == r.s.recipe.Config.KillAfter, "the service was changed to %v %v, and is %v %v", r.config.Env, r.config.KillAfter, is.Env, is.KillAfter)
}

// ask has somebody wait for an answer.
func (w *world) ask(what string, f func() (client.Report, error)) { go w.answer(what, f) }

func (w *world) answer(what string, f func() (client.Report, error)) {
	k := &ask{what: what}
	w.mu.Lock()
	w.asks = append(w.asks, k)
	w.mu.Unlock()
	report, err := f()
	w.mu.Lock()
	defer w.mu.Unlock()
	k.answered = true
	if err != nil {
		w.log(nil, "%s: refused: %v", what, err)
		w.check(report.Outcome == "", "%s: both a report and an error: %+v, %v", what, report, err)
		return
	}
	w.log(nil, "%s: %s %s", what, report.Outcome, report.Reason)
	switch report.Outcome {
	case client.Done:
		w.check(report.FailedStep == "" && report.Reason == "", "%s: done, but %s", what, report.Reason)
		if report.To != nil {
			a := w.of(report.To.Number)
			w.check(!a.steerable || a.calls["PROVEN"] > 0, "%s: done, and %v was never proven", what, a)
		}
	case client.RolledBack, client.Broken:
		w.check(what != "stop" && report.FailedStep != "" && report.Reason != "", "%s: %s, and nobody knows why", what, report.Outcome)
	case client.Forced:
		w.check(what == "stop", "%s was forced", what)
	default:
		w.broken("%s: outcome %q", what, report.Outcome)
	}
}
