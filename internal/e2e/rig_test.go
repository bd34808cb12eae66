//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testnet"
	"github.com/segue-go/segue/internal/testproc"
	"github.com/segue-go/segue/internal/verify"
)

// patience bounds what should take seconds, on a machine that is busy.
const patience = 90 * time.Second

// allExamples has a run keep every loss.
const allExamples = 100_000

// rig is the service under test, whoever supervises it.
type rig struct {
	t     *testing.T
	dir   string
	addrs map[string]string // by socket name
	tls   verify.Target
	brief bool // traffic on loopback only, and what takes long does not take as long
}

// supervised puts the service under a supervisor.
func supervised(t *testing.T, change ...func(*supervise.Config)) (*rig, *supervise.Service) {
	t.Helper()
	r := newRig(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := supervise.Config{
		Name: "e2e", Argv: []string{exe}, RuntimeDir: filepath.Join(r.dir, "run"), Env: []string{"E2E_DIR=" + r.dir},
		Listen: []supervise.Listen{
			{Name: "web", Addr: "127.0.0.1:0"}, {Name: "tls", Addr: "127.0.0.1:0"},
			{Name: "local", Addr: "unix:" + filepath.Join(r.dir, "local.sock")},
		},
		ReadyTimeout: 3 * time.Second, Trial: 200 * time.Millisecond, Probation: 600 * time.Millisecond,
		DrainTimeout: 20 * time.Second, Probes: []supervise.Probe{{Path: "/probe"}},
	}
	for _, c := range change {
		c(&config)
	}
	s, err := supervise.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	events, unsubscribe := s.Subscribe()
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		unsubscribe()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(r.dir, "run", "logs", "*"))
			for _, l := range logs {
				data, _ := os.ReadFile(l)
				t.Logf("%s:\n%s", filepath.Base(l), data)
			}
		}
	})
	await(t, events, func(e client.Event) bool { return e.State == client.Serving })
	for _, sock := range s.Status().Sockets {
		r.addrs[sock.Name] = sock.Addr
	}
	r.tls.Addr = r.addrs["tls"]
	return r, s
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), addrs: map[string]string{}}
	r.tls = verify.Target{TLS: certificate(t, r.dir)}
	return r
}

func await(t *testing.T, events <-chan client.Event, fits func(client.Event) bool) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatal("the service ended")
			}
			if fits(e) {
				return
			}
		case <-late:
			t.Fatal("the event did not come")
		}
	}
}

// fault is what is wrong with generations from now on; "" is nothing.
func (r *rig) fault(f string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, "fault"), []byte(f), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// traffic is every kind at once, on loopback and, for all but the unix socket,
// ten milliseconds away, unless r is brief. It returns when it flows.
func (r *rig) traffic() *verify.Run {
	r.t.Helper()
	run := r.newcomers()
	r.flow(run)
	return run
}

// newcomers is traffic that has just begun: nobody has a connection yet.
func (r *rig) newcomers() *verify.Run {
	r.t.Helper()
	near := verify.Target{Addr: r.addrs["web"]}
	local := verify.Target{Addr: r.addrs["local"]}
	slow := 1500 * time.Millisecond // longer than trial and switch: it is in flight when the old one is paused
	loads := []verify.Load{
		{Name: "unix", Target: &local, Kind: verify.KeepAlive(), Workers: 4, Rate: 60},
	}
	type place struct {
		name       string
		plain, tls verify.Target
	}
	places := []place{{"near", near, r.tls}}
	if r.brief {
		slow = 600 * time.Millisecond
	} else {
		far := verify.Target{Addr: r.distant(r.addrs["web"])}
		farTLS := verify.Target{Addr: r.distant(r.tls.Addr), TLS: r.tls.TLS}
		places = append(places, place{"far", far, farTLS})
	}
	for _, at := range places {
		add := func(name string, target verify.Target, k verify.Kind, workers int, rate float64) {
			loads = append(loads, verify.Load{Name: at.name + "-" + name, Target: &target, Kind: k, Workers: workers, Rate: rate})
		}
		add("keep-alive", at.plain, verify.KeepAlive(), 12, 150)
		add("idle", at.plain, verify.Idle(), 12, 12)
		add("one-shot", at.plain, verify.OneShot(), 6, 40)
		add("slow", at.plain, verify.Slow(slow), 3, 0)
		add("upload", at.plain, verify.Upload(slow), 2, 0)
		add("fresh-slow", at.plain, verify.HTTP1{Label: "fresh-slow", Fresh: true, Exchange: verify.SlowWork(slow / 5)}, 4, 0)
		add("fresh-upload", at.plain, verify.HTTP1{Label: "fresh-upload", Fresh: true, Exchange: verify.UploadPieces(64<<10, 8, slow/5)}, 4, 0)
		add("chunked", at.plain, verify.Chunked(slow), 2, 0)
		add("sse", at.plain, verify.SSE{}, 2, 0)
		add("https", at.tls, verify.KeepAlive(), 4, 40)
		add("h2", at.tls, verify.HTTP2{Label: "h2", Exchange: verify.Echo, Conns: 2}, 6, 60)
		add("h2-slow", at.tls, verify.HTTP2{Label: "h2-slow", Exchange: verify.SlowWork(slow)}, 2, 0)
		add("h2c", at.plain, verify.HTTP2{Label: "h2c", Exchange: verify.Echo, Conns: 2}, 6, 60)
	}
	run, err := verify.Start(context.Background(), verify.Options{Target: near, Loads: loads, Examples: allExamples})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("seed %d", run.Seed())
	r.t.Cleanup(func() { run.Stop() })
	return run
}

// distant is addr behind a proxy with a round trip of ten milliseconds.
func (r *rig) distant(addr string) string {
	r.t.Helper()
	p, err := testnet.Start(testnet.Options{OneWay: 5 * time.Millisecond, Target: addr})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { p.Close() })
	return p.Addr()
}

// flow waits until one more request of every kind was answered, and every kind
// that takes long has its next one under way.
func (r *rig) flow(run *verify.Run) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := run.Await(ctx, verify.EachSent(1, run.Counts())); err != nil {
		r.t.Fatalf("the traffic does not flow: %v", err)
	}
	// Workers that began together are between two requests together.
	if err := run.Await(ctx, func(now map[string]verify.Counts) bool {
		for kind, c := range now {
			if vicinity(kind) == 0 && c.InFlight == 0 {
				return false
			}
		}
		return true
	}); err != nil {
		r.t.Fatalf("the traffic does not flow: %v", err)
	}
}

// met fails the test if a kind of traffic was not in flight at the instant of a
// switch, or of another step: met does not wait for it, it lies in the past. from
// is when the restart began.
func (r *rig) met(run *verify.Run, name string, from, at time.Time) {
	r.t.Helper()
	run.Mark(name, from, time.Now())
	for kind := range run.Counts() {
		around := vicinity(kind)
		if n := run.InFlightDuring(at.Add(-around), at.Add(around))[kind]; n == 0 {
			r.t.Errorf("%s, at %s, has met no request of kind %q", name, at.Format(time.StampMicro), kind)
		}
	}
}

// vicinity is how far from an instant requests of a kind are counted as in
// flight then. What takes long is under way all the time, so that it is none.
// What is answered at once is not: each of those kinds sends at least one request
// in any 150 ms, of which a few microseconds fall in flight. A stream is open all
// the time, but its requests are its events, 50 ms each, and all streams may be
// between two. An idle connection is meant to be idle then; that it was used
// around that time is what counts.
func vicinity(kind string) time.Duration {
	for _, long := range []string{"slow", "upload", "chunked"} {
		if strings.HasSuffix(kind, long) {
			return 0
		}
	}
	switch {
	case strings.HasSuffix(kind, "sse"):
		return 10 * time.Millisecond
	case strings.HasSuffix(kind, "idle"):
		return time.Second
	}
	return 100 * time.Millisecond
}

// began is when a step of a restart began.
func (r *rig) began(report client.Report, step handover.StepName) time.Time {
	r.t.Helper()
	for _, s := range report.Steps {
		if s.Name == string(step) {
			return s.Began
		}
	}
	r.t.Fatalf("the restart has come to no %s: %+v", step, report)
	return time.Time{}
}

// handedOver waits for the report of the handover that a process has made by
// itself, and takes it away: the next one has a report of its own.
func (r *rig) handedOver() (report handover.Report) {
	r.t.Helper()
	path := filepath.Join(r.dir, "handover")
	testproc.Until(r.t, "the handover ends", func() bool {
		data, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		if err := json.Unmarshal(data, &report); err != nil {
			r.t.Fatal(err)
		}
		return true
	})
	if err := os.Remove(path); err != nil {
		r.t.Fatal(err)
	}
	return report
}

// switched is when a handover came to its switch.
func (r *rig) switched(report handover.Report) time.Time {
	r.t.Helper()
	i := slices.IndexFunc(report.Steps, func(s handover.Step) bool { return s.Name == handover.StepSwitch })
	if i < 0 {
		r.t.Fatalf("the handover has come to no switch: %+v", report)
	}
	return report.Steps[i].Began
}

// who is the process that answers a new connection.
func (r *rig) who() verify.Who {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := verify.AskWho(ctx, verify.Target{Addr: r.addrs["web"]})
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

// account ends the traffic and compares both ledgers: nothing may be lost,
// nothing applied twice.
func (r *rig) account(run *verify.Run) verify.Result {
	r.t.Helper()
	result := run.Stop()
	var err error
	if result.Service, err = run.Compare(filepath.Join(r.dir, "applied")); err != nil {
		r.t.Fatal(err)
	}
	var table strings.Builder
	result.Table(&table)
	r.t.Logf("\n%s", table.String())
	return result
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

// restarts is how often a test restarts.
func restarts(few int) int {
	if os.Getenv("SEGUE_SOAK") != "" {
		return 100
	}
	return few
}

func (r *rig) check(from, to *client.Generation) {
	r.t.Helper()
	if from == nil || to == nil {
		r.t.Fatal("a restart without two generations")
	}
	if !gone(from.PID) {
		r.t.Errorf("the old process %d is still there", from.PID)
	}
	if w := r.who(); w.PID != to.PID || w.Generation != fmt.Sprint(to.Number) {
		r.t.Errorf("process %d (generation %s) answers, not %d (%d)", w.PID, w.Generation, to.PID, to.Number)
	}
}
