package supervise_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testproc"
)

// onDuty is a service that speaks systemd's language only. What it does when the
// file TEST_CUE is there is its duty: exit:N, signal:N, or about its watchdog to be
// mute, or to trigger it. One that is slow takes its time to leave.
func onDuty(duty string) int {
	in, err := handover.Inherit()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ln, err := in.Sockets[0].Listener()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	go http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getpid()) }))
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, syscall.SIGTERM)
	n := handover.NewNotifier(in.NotifySocket)
	n.Send("READY=1")
	usec, _ := strconv.Atoi(in.Watchdog)
	what, arg, _ := strings.Cut(duty, ":")
	number, _ := strconv.Atoi(arg)
	tick := time.NewTicker(20 * time.Millisecond)
	for {
		select {
		case <-leave:
			if what == "slow" {
				time.Sleep(time.Second)
			}
			return 0
		case <-tick.C:
		}
		_, err := os.Stat(os.Getenv("TEST_CUE"))
		cue := err == nil
		switch {
		case cue && what == "exit":
			os.Remove(os.Getenv("TEST_CUE"))
			fmt.Println("last words")
			return number
		case cue && what == "signal":
			os.Remove(os.Getenv("TEST_CUE"))
			signal.Reset()
			syscall.Kill(os.Getpid(), syscall.Signal(number))
		case cue && what == "mute":
		case cue && what == "trigger":
			os.Remove(os.Getenv("TEST_CUE"))
			n.Send("WATCHDOG=trigger")
		case usec > 0:
			n.Send("WATCHDOG=1")
		}
	}
}

// dutiful is the configuration of such a service, and its cue.
func dutiful(t *testing.T, duty string) (c supervise.Config, cue func()) {
	file := filepath.Join(t.TempDir(), "cue")
	c = config(t, "TEST_DUTY="+duty, "TEST_CUE="+file, "GORACE=atexit_sleep_ms=0")
	c.Probes = nil
	c.Backoff = supervise.Backoff{First: 10 * time.Millisecond, Limit: 2, Stable: time.Hour}
	return c, func() {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *rig) reaches(s client.State) client.Event {
	r.t.Helper()
	return r.await(func(e client.Event) bool { return e.Kind == client.EventState && e.State == s })
}

// TestEnds: what follows the ends of real processes, as docs/SUPERVISION.md has it.
func TestEnds(t *testing.T) {
	for name, test := range map[string]struct {
		duty    string
		policy  supervise.Policy
		state   client.State // after the end; Serving is another generation
		crashes int
	}{
		"exit 0, on-failure":        {"exit:0", supervise.OnFailure, client.Stopped, 0},
		"exit 0, always":            {"exit:0", supervise.Always, client.Serving, 0},
		"exit 0, never":             {"exit:0", supervise.Never, client.Stopped, 0},
		"expected exit, on-failure": {"exit:3", supervise.OnFailure, client.Stopped, 0},
		"expected exit, always":     {"exit:3", supervise.Always, client.Serving, 0},
		"other exit, default":       {"exit:4", "", client.Serving, 1},
		"other exit, never":         {"exit:4", supervise.Never, client.Failed, 1},
		"signal, on-failure":        {"signal:9", supervise.OnFailure, client.Serving, 1},
		"expected signal":           {"signal:15", supervise.OnFailure, client.Stopped, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, cue := dutiful(t, test.duty)
			c.Restart, c.Expected = test.policy, []int{3, 128 + 15}
			r := start(t, c)
			cue()
			e := r.reaches(test.state)
			st := r.status()
			if st.Crashes != test.crashes {
				t.Errorf("%d crashes, want %d", st.Crashes, test.crashes)
			}
			switch test.state {
			case client.Serving:
				if g := st.Generations; len(g) != 1 || g[0].Number != 2 {
					t.Errorf("generations %+v", g)
				}
			case client.Failed:
				want := "the service failed, and is never started again: generation 1 exited with status 4; its last output was:\nlast words"
				if e.Text != want {
					t.Errorf("reason %q, want %q", e.Text, want)
				}
			}
		})
	}
}

// TestAlwaysNeverFails: ends that are no failure are no crash loop.
func TestAlwaysNeverFails(t *testing.T) {
	c, cue := dutiful(t, "exit:0")
	c.Restart = supervise.Always
	r := start(t, c)
	for range 4 { // of a limit of 2
		cue()
		r.reaches(client.BackingOff)
		r.reaches(client.Serving)
	}
	if st := r.status(); st.Crashes != 0 || st.Generations[0].Number != 5 {
		t.Errorf("status %+v", st)
	}
}

// TestWatchdog: a generation that says nothing any more, one that cannot, and one
// that asks for its end are replaced, and that is a crash.
func TestWatchdogBites(t *testing.T) {
	const within = 300 * time.Millisecond
	for name, test := range map[string]struct {
		duty   string
		stop   bool
		reason string
		output string
	}{
		"mute":    {"mute", false, "generation 1 was ended by its watchdog (said nothing for 300ms): exited with status 2", "goroutine "},
		"trigger": {"trigger", false, "generation 1 was ended by its watchdog (it asked for its end): exited with status 2", "goroutine "},
		"stopped": {"none", true, "generation 1 was ended by its watchdog (said nothing for 300ms): was ended by signal 9 (killed)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, cue := dutiful(t, test.duty)
			c.Watchdog, c.Expected = within, []int{2}
			c.Restart = supervise.Never
			r := start(t, c)
			pid, _ := strconv.Atoi(r.get("/"))
			if test.stop {
				syscall.Kill(pid, syscall.SIGSTOP)
			} else {
				cue()
			}
			e := r.await(func(e client.Event) bool { return e.Kind == client.EventProblem })
			if !strings.HasPrefix(e.Text, "generation 1 is ended by its watchdog: ") {
				t.Errorf("problem %q", e.Text)
			}
			if e := r.reaches(client.BackingOff); e.Text != test.reason {
				t.Errorf("reason %q, want %q", e.Text, test.reason)
			}
			if e := r.reaches(client.Failed); e.Text != "the service failed, and is never started again: "+test.reason {
				t.Errorf("reason %q", e.Text)
			}
			if log, _ := os.ReadFile(filepath.Join(c.RuntimeDir, "logs", "1.log")); !strings.Contains(string(log), test.output) {
				t.Errorf("there is no dump: %s", log)
			}
			if !gone(pid) {
				t.Errorf("process %d is still there", pid)
			}
		})
	}
}

// TestWatchdogLetsGo: who was told to leave has nothing to say any more.
func TestWatchdogLetsGo(t *testing.T) {
	c, _ := dutiful(t, "slow")
	c.Watchdog = 300 * time.Millisecond
	r := start(t, c)
	report, err := r.s.Stop(context.Background())
	if err != nil || report.Outcome != client.Done || report.Drain.Exit != "exited with status 0" {
		t.Errorf("report %+v, drain %+v, %v", report, report.Drain, err)
	}
}

// TestWatchdogOnTrial: a generation that stops to speak before it serves is rolled
// back, with that as the reason.
func TestWatchdogOnTrial(t *testing.T) {
	c := config(t)
	c.Watchdog, c.Trial = 300*time.Millisecond, 20*time.Second
	r := start(t, c)
	report := make(chan client.Report, 1)
	go func() { report <- r.restart(client.RestartRequest{}) }()
	e := r.await(func(e client.Event) bool { return e.Kind == client.EventGeneration && e.Role == client.RoleTrial })
	syscall.Kill(e.PID, syscall.SIGSTOP)
	if got := <-report; got.Outcome != client.RolledBack || got.FailedStep != "trial" || !strings.Contains(got.Reason, "was ended by its watchdog (said nothing for 300ms)") {
		t.Errorf("outcome %q at %q: %s", got.Outcome, got.FailedStep, got.Reason)
	}
}

// TestWatchdogSpares: package segue speaks often enough, while it serves and while
// it drains longer than the watchdog waits.
func TestWatchdogSpares(t *testing.T) {
	c := config(t)
	c.Watchdog, c.Probation = 200*time.Millisecond, 100*time.Millisecond
	r := start(t, c)
	slow := make(chan string, 1)
	go func() { slow <- r.get("/slow?for=1500ms") }()
	time.Sleep(100 * time.Millisecond) // it is under way: nothing says so
	before := r.get("/")
	report := r.restart(client.RestartRequest{})
	if report.Outcome != client.Done || report.Drain.Killed || report.Drain.Exit != "exited with status 0" {
		t.Errorf("report %+v, drain %+v", report, report.Drain)
	}
	if answer := <-slow; answer != before {
		t.Errorf("the slow request was answered %q by %s", answer, before)
	}
	if st := r.status(); st.Crashes != 0 {
		t.Errorf("%d crashes", st.Crashes)
	}
}

// TestWatchdogWasAsleep: a supervisor that was stopped, alone or with everything
// else, has heard nothing for long. That is not the service's fault.
func TestWatchdogWasAsleep(t *testing.T) {
	for name, all := range map[string]bool{"supervisor": false, "machine": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd, addr := supervised(t, dir, "TEST_SERVICE=none", "TEST_WATCHDOG=300ms")
			ask := func() string { return (&rig{t: t, addr: addr}).get("/") }
			before := ask()
			service, _ := strconv.Atoi(before)
			for range 3 {
				syscall.Kill(cmd.Process.Pid, syscall.SIGSTOP)
				if all {
					syscall.Kill(service, syscall.SIGSTOP)
				}
				time.Sleep(time.Second) // longer than the watchdog waits
				syscall.Kill(cmd.Process.Pid, syscall.SIGCONT)
				if all {
					syscall.Kill(service, syscall.SIGCONT)
				}
				time.Sleep(time.Second)
				if after := ask(); after != before {
					t.Fatalf("process %s has served, %s does", before, after)
				}
			}
			// It has not fallen asleep for good.
			syscall.Kill(service, syscall.SIGSTOP)
			testproc.Until(t, "a silent service is ended", func() bool { return gone(service) })
		})
	}
}

// TestProbes of the three kinds, of a generation that can be passed connections.
func TestProbes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "asked")
	c := config(t)
	c.Env = append(c.Env, "ASKED="+file)
	c.Probes = []supervise.Probe{{Path: "/probe"}, {TCP: true, Socket: "web"}, {Command: []string{"sh", "-c", "echo $SEGUE_GENERATION $SEGUE_PROBE_PID $SEGUE_SOCKET_WEB >$ASKED"}}}
	r := start(t, c)
	report := r.restart(client.RestartRequest{})
	if report.Outcome != client.Done {
		t.Fatalf("report %+v", report)
	}
	asked, _ := os.ReadFile(file)
	if want := fmt.Sprintf("%d %d %s\n", report.To.Number, report.To.PID, r.addr); string(asked) != want {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

// TestProbesFail: each kind rolls back, and says what it was.
func TestProbesFail(t *testing.T) {
	for name, test := range map[string]struct {
		probe  supervise.Probe
		reason string
	}{
		"command": {supervise.Probe{Command: []string{"sh", "-c", "echo the queue is full; exit 9"}},
			"probe sh -c echo the queue is full; exit 9: sh exited with status 9; it wrote:\nthe queue is full"},
		"command that hangs": {supervise.Probe{Command: []string{"sleep", "1000"}, Timeout: 200 * time.Millisecond},
			"probe sleep 1000: sleep was killed: nothing came within 200ms"},
		"page that hangs": {supervise.Probe{Path: "/slow?for=20s", Timeout: 200 * time.Millisecond}, "probe of /slow?for=20s: nothing came within 200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t)
			c.DrainTimeout = time.Second
			c.Probes = []supervise.Probe{{Path: "/probe"}, test.probe}
			r := start(t, c)
			report := r.restart(client.RestartRequest{})
			if report.Outcome != client.RolledBack || report.FailedStep != "trial" || report.Reason != test.reason {
				t.Errorf("outcome %q at %q: %s\nwant %s", report.Outcome, report.FailedStep, report.Reason, test.reason)
			}
		})
	}
}

// TestGate: probes must go on to succeed throughout probation.
func TestGate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "well")
	os.WriteFile(file, nil, 0o600)
	c := config(t)
	c.Probation = 20 * time.Second
	c.Probes = []supervise.Probe{{Command: []string{"test", "-f", file}}}
	r := start(t, c)
	before := r.get("/")
	report := make(chan client.Report, 1)
	go func() { report <- r.restart(client.RestartRequest{}) }()
	r.await(func(e client.Event) bool { return e.Kind == client.EventStep && e.Step.Name == "probation" })
	os.Remove(file)
	if got := <-report; got.Outcome != client.RolledBack || got.FailedStep != "probation" || !strings.Contains(got.Reason, "probe test -f") {
		t.Errorf("outcome %q at %q: %s", got.Outcome, got.FailedStep, got.Reason)
	}
	if after := r.get("/"); after != before {
		t.Errorf("process %s served, %s does", before, after)
	}
}

// TestProbesOfAStranger: a generation that cannot be passed connections is asked by
// its address, and is given up all the same.
func TestProbesOfAStranger(t *testing.T) {
	c, _ := dutiful(t, "none")
	file := filepath.Join(t.TempDir(), "sick")
	c.Env = append(c.Env, "SICK="+file)
	c.Probation = 300 * time.Millisecond
	c.Probes = []supervise.Probe{{Path: "/"}, {TCP: true}, {Command: []string{"sh", "-c", "test ! -f $SICK || { echo sick; exit 1; }"}}}
	r := start(t, c)
	report := r.restart(client.RestartRequest{})
	if report.Outcome != client.Done || report.To.Number != 2 {
		t.Fatalf("report %+v", report)
	}
	note := ""
	for _, s := range report.Steps {
		if s.Name == "probation" {
			note = s.Note
		}
	}
	if !strings.Contains(note, "may be the one that has answered") {
		t.Errorf("note %q of steps %+v", note, report.Steps)
	}
	os.WriteFile(file, nil, 0o600)
	report = r.restart(client.RestartRequest{})
	if report.Outcome != client.RolledBack || report.FailedStep != "probation" || !strings.HasSuffix(report.Reason, "it wrote:\nsick") {
		t.Errorf("report %+v", report)
	}
	if pid := r.get("/"); pid != fmt.Sprint(report.From.PID) || !gone(report.To.PID) {
		t.Errorf("process %s serves, %d should", pid, report.From.PID)
	}
}

// told is what hooks have written to a file, one JSON a line.
func told(t *testing.T, file string) (all []map[string]any) {
	data, _ := os.ReadFile(file)
	for line := range strings.Lines(string(data)) {
		var n map[string]any
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			t.Error(err)
		}
		all = append(all, n)
	}
	return all
}

// TestHooks: who is told of what, also of the end of the service.
func TestHooks(t *testing.T) {
	dir := t.TempDir()
	all, grave := filepath.Join(dir, "all"), filepath.Join(dir, "grave")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	posts := make(chan string, 10)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n map[string]any
		json.NewDecoder(r.Body).Decode(&n)
		posts <- fmt.Sprint(n["occasion"])
	})}
	go server.Serve(ln)
	defer server.Close()

	c, cue := dutiful(t, "exit:4")
	c.Backoff.Limit = 3
	c.Hooks = []supervise.Hook{
		{Command: []string{"sh", "-c", "cat >>" + all}},
		{Command: []string{"sh", "-c", "cat >>" + grave}, On: []supervise.Occasion{supervise.OnCrashLoop, supervise.OnFailed}},
		{URL: "http://" + ln.Addr().String() + "/hook", On: []supervise.Occasion{supervise.OnFailed}},
	}
	r := start(t, c)
	for n := range 3 {
		cue()
		r.reaches(client.BackingOff)
		if n < 2 {
			r.reaches(client.Serving)
		}
	}
	err = <-r.done
	r.done <- err
	if err == nil || !strings.Contains(err.Error(), "the service failed 3 times in a row: generation 3 exited with status 4; its last output was:\nlast words") {
		t.Errorf("ended with %v", err)
	}
	var occasions []string
	for _, n := range told(t, all) {
		occasions = append(occasions, fmt.Sprint(n["occasion"], n["generation"]))
		if n["service"] != "test" || !strings.Contains(fmt.Sprint(n["reason"]), "exited with status 4") {
			t.Errorf("told %v", n)
		}
	}
	if got := strings.Join(occasions, " "); got != "crash1 crash-loop2 failed3" {
		t.Errorf("told of %s", got)
	}
	occasions = nil
	for _, n := range told(t, grave) {
		occasions = append(occasions, fmt.Sprint(n["occasion"], n["generation"]))
	}
	if got := strings.Join(occasions, " "); got != "crash-loop2 failed3" {
		t.Errorf("told of %s", got)
	}
	select {
	case got := <-posts:
		if got != "failed" {
			t.Errorf("posted %s", got)
		}
	default:
		t.Error("nothing was posted")
	}
}

// TestHookOfARollback has the report.
func TestHookOfARollback(t *testing.T) {
	file := filepath.Join(t.TempDir(), "told")
	c := config(t, "TEST_SERVICE=exit", "FAULT_AFTER=1")
	c.Hooks = []supervise.Hook{{Command: []string{"sh", "-c", "cat >>" + file}}}
	r := start(t, c)
	report := r.restart(client.RestartRequest{})
	if report.Outcome != client.RolledBack {
		t.Fatalf("report %+v", report)
	}
	if _, err := r.s.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	err := <-r.done
	r.done <- err
	all := told(t, file)
	if len(all) != 1 || all[0]["occasion"] != "rollback" || all[0]["generation"] != 2.0 || all[0]["reason"] != report.Reason {
		t.Fatalf("told %v", all)
	}
	if got, _ := all[0]["report"].(map[string]any); got["outcome"] != "rolled back" || fmt.Sprint(got["output"]) != "[this version is broken]" {
		t.Errorf("report %v", got)
	}
}
