package supervise_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testproc"
)

// census is what a supervisor in this process may leak.
type census struct {
	descriptors, goroutines, files, children int
	heap                                     uint64
}

// count counts, in a moment in which nothing goes on.
func count(t *testing.T, dir string) (c census) {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c.heap, c.goroutines = m.HeapAlloc, runtime.NumGoroutine()
	c.descriptors = len(descriptorsOf(t, os.Getpid()))
	filepath.WalkDir(dir, func(string, os.DirEntry, error) error { c.files++; return nil })
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range tasks {
		text, _ := os.ReadFile(f)
		c.children += len(strings.Fields(string(text))) // zombies as well
	}
	return c
}

// settles waits until there is no more of anything than before, but for memory.
func (c census) settles(t *testing.T, dir string) (now census) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for {
		now = count(t, dir)
		if now.descriptors <= c.descriptors && now.goroutines <= c.goroutines && now.files <= c.files && now.children <= c.children {
			return now
		}
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("before %+v, now %+v\n%s", c, now, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// rounds is how often a test does what it does.
func rounds(few, soak int) int {
	if os.Getenv("SEGUE_SOAK") != "" {
		return soak
	}
	return few
}

// TestRestartsLeakNothing: restarts in a row of a service that speaks the control wire
// and of one that speaks nothing, 1,000 in the soak: as many descriptors, goroutines,
// files and children, zombies among them, as before, and hardly more memory.
func TestRestartsLeakNothing(t *testing.T) {
	n := rounds(30, 1000)
	a := tenant(t, "a", "GORACE=atexit_sleep_ms=0")
	a.Trial, a.Probation, a.Probes, a.Logs.Keep = 0, 0, nil, 3
	b, _ := script(t, "b", "exec sleep 1000")
	b.Logs.Keep = 3
	h := open(t, a, b)
	h.becomes(client.Serving, "a", "b")
	var before census
	began := time.Now()
	const settled = 8 // generations, so that as many logs are kept as may be
	for round := range n {
		for _, name := range []string{"a", "b"} {
			r, err := h.Restart(context.Background(), name, client.RestartRequest{})
			outcome(t, r, err, client.Done)
		}
		if round == settled {
			before = count(t, h.plan.Dir).settles(t, h.plan.Dir)
		}
	}
	took := time.Since(began)
	now := before.settles(t, h.plan.Dir)
	t.Logf("%d restarts of each, %v for both; %+v, before %+v", n, (took / time.Duration(n)).Round(time.Millisecond), now, before)
	if now.heap > before.heap+2<<20 {
		t.Errorf("%d bytes of memory, %d before", now.heap, before.heap)
	}
	for _, name := range []string{"a", "b"} {
		if st := h.status(name); st.Restarts != n || len(st.Generations) != 1 || st.Generations[0].Number != n+1 || st.Crashes != 0 {
			t.Errorf("%+v", st)
		}
	}
}

// TestHundredServices in one supervisor: started, shown, restarted, stopped and started
// again, in bounded time, and nothing is left of them.
func TestHundredServices(t *testing.T) {
	const n = 100
	var members []supervise.Member
	var names []string
	for i := range n {
		m := idler(t, fmt.Sprintf("s%02d", i))
		m.Listen = []supervise.Listen{{Name: "web", Addr: "127.0.0.1:0"}}
		if i >= n/2 {
			m.DependsOn = []string{members[i-n/2].Name}
		}
		members, names = append(members, m), append(names, m.Name)
	}
	dir := t.TempDir()
	before := count(t, dir)
	h := &house{t: t, plan: supervise.Plan{Name: "house", Dir: dir, Services: members}}
	began := time.Now()
	timed := func(what string, most time.Duration) {
		took := time.Since(began)
		t.Logf("%s: %v", what, took.Round(time.Millisecond))
		if took > most {
			t.Errorf("%s took %v, at most %v were expected", what, took, most)
		}
		began = time.Now()
	}
	var err error
	if h.Supervisor, err = supervise.Open(h.plan); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Run(context.Background()) }()
	testproc.Until(t, "all serve", func() bool {
		return !slices.ContainsFunc(h.Overview().Services, func(st client.Status) bool { return st.State != client.Serving })
	})
	timed("to serve", 30*time.Second)

	o := h.Overview()
	timed("the overview", time.Second)
	pids := map[int]bool{}
	for i, st := range o.Services {
		if st.Service != names[i] || st.State != client.Serving || len(st.Sockets) != 1 || len(st.Generations) != 1 || testproc.Gone(st.Generations[0].PID) {
			t.Errorf("%+v", st)
			continue
		}
		pids[st.Generations[0].PID] = true
	}
	if threads, err := os.ReadDir("/proc/self/task"); err != nil || len(threads) > n/2 {
		t.Errorf("%d threads for %d services, %v", len(threads), n, err)
	}
	if len(o.Services) != n || len(pids) != n {
		t.Errorf("%d services in %d processes", len(o.Services), len(pids))
	}

	if err := h.RestartAll(context.Background()); err != nil {
		t.Error(err)
	}
	timed("to restart one after the other", 60*time.Second)
	for _, st := range h.Overview().Services {
		if st.Restarts != 1 || len(st.Generations) != 1 || pids[st.Generations[0].PID] {
			t.Errorf("%+v", st)
		}
	}
	r, err := h.Stop(context.Background(), "")
	if outcome(t, r, err, client.Done); len(r.Parts) != n {
		t.Errorf("%d reports of a stop", len(r.Parts))
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	timed("to stop", 30*time.Second)
	after := before
	after.files = count(t, dir).files // logs stay
	after.settles(t, dir)
	left, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	for _, f := range left {
		if base := filepath.Base(f); base != "lock" && base != "logs" {
			t.Errorf("%s is left", f)
		}
	}
}
