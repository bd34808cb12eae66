//go:build linux

package supervise_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
)

// rig is one supervised service under test.
type rig struct {
	t      *testing.T
	s      *supervise.Service
	addr   string
	done   chan error
	cancel context.CancelFunc
	events <-chan client.Event
	status func() client.Status
}

func config(t *testing.T, env ...string) supervise.Config {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return supervise.Config{
		Name: "test", Argv: []string{exe}, RuntimeDir: t.TempDir(),
		Env:          append([]string{"TEST_SERVICE=none", "GORACE=atexit_sleep_ms=0"}, env...),
		Listen:       []supervise.Listen{{Name: "web", Addr: "127.0.0.1:0"}},
		ReadyTimeout: 5 * time.Second, Trial: 200 * time.Millisecond, Probation: time.Second, DrainTimeout: 10 * time.Second,
		Probes: []supervise.Probe{{Path: "/probe"}},
	}
}

func start(t *testing.T, c supervise.Config) *rig {
	t.Helper()
	s, err := supervise.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &rig{t: t, s: s, done: make(chan error, 1), cancel: cancel, status: s.Status}
	r.events, _ = s.Subscribe()
	go func() { r.done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-r.done:
		case <-time.After(40 * time.Second):
			t.Error("the supervisor did not end")
		}
		if t.Failed() {
			s.Follow(context.Background(), 0, false, nil, t.Output())
		}
	})
	r.await(func(e client.Event) bool { return e.Kind == client.EventState && e.State == client.Serving })
	r.addr = s.Status().Sockets[0].Addr
	return r
}

// await reads events until one fits.
func (r *rig) await(fits func(client.Event) bool) client.Event {
	r.t.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case e, ok := <-r.events:
			if !ok {
				r.t.Fatal("the service ended")
			}
			if fits(e) {
				return e
			}
		case <-late:
			r.t.Fatal("the event did not come")
		}
	}
}

// get asks over a connection of its own, without any retry.
func (r *rig) get(path string) string {
	r.t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + r.addr + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(body)
}

func (r *rig) restart(req client.RestartRequest) client.Report {
	r.t.Helper()
	report, err := r.s.Restart(context.Background(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

func TestRestart(t *testing.T) {
	r := start(t, config(t))
	before := r.get("/")
	report := r.restart(client.RestartRequest{})
	after := r.get("/")
	if report.Outcome != client.Done || report.From == nil || report.To == nil {
		t.Fatalf("report %+v", report)
	}
	if fmt.Sprint(report.From.PID) != before || fmt.Sprint(report.To.PID) != after || before == after {
		t.Errorf("from %d to %d, answers %s and %s", report.From.PID, report.To.PID, before, after)
	}
	if !gone(report.From.PID) {
		t.Errorf("the old process %d is still there", report.From.PID)
	}
	if report.Drain == nil || !report.Drain.Told || report.Drain.Killed {
		t.Errorf("drain %+v", report.Drain)
	}
	var steps []string
	for _, s := range report.Steps {
		steps = append(steps, s.Name)
	}
	if got := strings.Join(steps, " "); got != "spawn ready trial switch probation move drain" {
		t.Errorf("steps %s", got)
	}
}

// TestRollback has a new generation fail at every step. The old one serves all
// the time, and nobody notices.
func TestRollback(t *testing.T) {
	for _, c := range []struct{ fault, step, reason string }{
		{"exit", "ready", "exited with status 3"},
		{"setup", "ready", "exited with status 1"},
		{"hang", "ready", "did not become ready within"},
		{"late", "ready", "did not become ready within"},
		{"closefds", "ready", ""},
		{"probe", "trial", "500"},
		{"diesintrial", "trial", "exited with status 5"},
		{"check", "", "bad"},
		{"die:500ms", "probation", "exited with status 7"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			cfg := config(t, "TEST_SERVICE="+c.fault, "FAULT_AFTER=1")
			cfg.ReadyTimeout = 2 * time.Second
			r := start(t, cfg)
			old := r.get("/")
			stop, lost := r.hammer()
			began := time.Now()
			report := r.restart(client.RestartRequest{})
			stop()
			if report.Outcome != client.RolledBack || c.step != "" && report.FailedStep != c.step || !strings.Contains(report.Reason, c.reason) {
				t.Errorf("outcome %q at %q: %s", report.Outcome, report.FailedStep, report.Reason)
			}
			if now := r.get("/"); now != old {
				t.Errorf("process %s served before, %s serves now", old, now)
			}
			if report.To != nil && !gone(report.To.PID) {
				t.Errorf("the failed process %d is still there", report.To.PID)
			}
			if l := lost(); c.step != "probation" && len(l) > 0 {
				t.Errorf("lost %d: %v", len(l), l[0])
			}
			if st := r.status(); st.State != client.Serving || st.RolledBack != 1 || len(st.Generations) != 1 || st.Since.After(began) {
				t.Errorf("status %+v", st)
			}
		})
	}
}

// hammer asks one request after the other, each on a new connection.
func (r *rig) hammer() (stop func(), lost func() []error) {
	var errs []error
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			default:
			}
			if err := r.ask(); err != nil {
				errs = append(errs, err)
			}
		}
	}()
	return func() { close(end); <-done }, func() []error { return errs }
}

func (r *rig) ask() error {
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err == nil && !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		err = fmt.Errorf("answer %q", answer)
	}
	return err
}

func TestRestartUnderLoad(t *testing.T) {
	r := start(t, config(t))
	stop, lost := r.hammer()
	for range 3 {
		if report := r.restart(client.RestartRequest{}); report.Outcome != client.Done {
			t.Errorf("report %+v", report)
		}
	}
	stop()
	if l := lost(); len(l) > 0 {
		t.Errorf("lost %d: %v", len(l), l)
	}
}

func TestBinaryThatIsNotThere(t *testing.T) {
	r := start(t, config(t))
	_, err := r.s.Restart(context.Background(), client.RestartRequest{Binary: "/nowhere/shop"})
	if err == nil || !strings.Contains(err.Error(), "/nowhere/shop") {
		t.Errorf("error %v", err)
	}
	if st := r.status(); st.State != client.Serving {
		t.Errorf("status %+v", st)
	}
}

func TestCrashIsRestarted(t *testing.T) {
	r := start(t, config(t))
	st := r.status()
	syscall.Kill(st.Generations[0].PID, syscall.SIGKILL)
	r.await(func(e client.Event) bool { return e.Kind == client.EventState && e.State == client.Serving })
	if now := r.status(); now.Crashes != 1 || now.Generations[0].PID == st.Generations[0].PID {
		t.Errorf("status %+v", now)
	}
	r.get("/")
}

func TestGivesUp(t *testing.T) {
	s, err := supervise.New(config(t, "TEST_SERVICE=exit"))
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "5 times in a row") || !strings.Contains(err.Error(), "this version is broken") {
		t.Errorf("error %v", err)
	}
	if s.ExitCode() != 3 {
		t.Errorf("exit code %d", s.ExitCode())
	}
}

func TestStop(t *testing.T) {
	r := start(t, config(t))
	pid := r.status().Generations[0].PID
	report, err := r.s.Stop(context.Background())
	if err != nil || report.Outcome != client.Done || report.Drain == nil || !report.Drain.Told {
		t.Errorf("report %+v, error %v", report, err)
	}
	if !gone(pid) {
		t.Errorf("process %d is still there", pid)
	}
	err = <-r.done
	r.done <- err
	if err != nil {
		t.Error(err)
	}
}

// TestRuntimeDirectoryRemoved: a generation that could not reach the supervisor is
// not started, and the one that serves goes on.
func TestRuntimeDirectoryRemoved(t *testing.T) {
	c := config(t)
	r := start(t, c)
	before := r.get("/")
	if err := os.RemoveAll(c.RuntimeDir); err != nil {
		t.Fatal(err)
	}
	report := r.restart(client.RestartRequest{})
	if report.Outcome != client.RolledBack || report.FailedStep != "spawn" || !strings.Contains(report.Reason, c.RuntimeDir) {
		t.Errorf("report %+v", report)
	}
	if after := r.get("/"); after != before {
		t.Errorf("process %s served, %s serves", before, after)
	}
}
