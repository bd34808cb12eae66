package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/examples/live/internal/stay"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testnet"
	"github.com/segue-go/segue/internal/testproc"
)

// patience bounds what should take seconds, on a machine that is busy.
const patience = 60 * time.Second

// A restart is quick: nothing here waits to see whether the new version is well.
const (
	trial     = 50 * time.Millisecond
	probation = 50 * time.Millisecond
)

// rig is the service under test, whoever supervises it.
type rig struct {
	t       *testing.T
	dir     string
	addrs   map[string]string // by the name of the socket
	tls     *tls.Config       // nil: none
	restart func()            // returns when the old process is gone
}

func newRig(t *testing.T) *rig {
	return &rig{t: t, dir: t.TempDir(), addrs: map[string]string{}}
}

// args are the command line of the service. The net/http routes are on a unix
// socket.
func (r *rig) args(more ...string) []string {
	return append([]string{
		"-data", r.dir, "-listen", "127.0.0.1:0", "-listen-std", "unix:" + filepath.Join(r.dir, "std.sock"), "-listen-chi", "127.0.0.1:0",
		"-trial", trial.String(), "-probation", probation.String(),
	}, more...)
}

// trust is for after the start, which makes the certificate.
func (r *rig) trust() {
	r.t.Helper()
	both, err := os.ReadFile(filepath.Join(r.dir, "tls.pem"))
	if os.IsNotExist(err) {
		return
	}
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(both) {
		r.t.Fatal("the certificate is not there", err)
	}
	r.tls = &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS13}
}

// supervised puts the service under the supervisor of `segue run`.
func supervised(t *testing.T, more ...string) *rig {
	t.Helper()
	r := newRig(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := supervise.New(supervise.Config{
		Name: "live", Argv: append([]string{exe}, r.args(more...)...), RuntimeDir: filepath.Join(r.dir, "run"),
		Env: []string{serviceEnv + "=1", gorace()},
		Listen: []supervise.Listen{
			{Name: "web", Addr: "127.0.0.1:0"}, {Name: "std", Addr: "unix:" + filepath.Join(r.dir, "std.sock")}, {Name: "chi", Addr: "127.0.0.1:0"},
		},
		ReadyTimeout: patience, Trial: trial, Probation: probation, DrainTimeout: 20 * time.Second,
	})
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
		r.show("run/logs/*")
	})
	late := time.After(patience)
	for serving := false; !serving; {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatal("the service ended")
			}
			serving = e.State == client.Serving
		case <-late:
			t.Fatal("the service does not serve")
		}
	}
	for _, sock := range s.Status().Sockets {
		r.addrs[sock.Name] = sock.Addr
	}
	r.trust()
	r.restart = func() {
		t.Helper()
		report, err := s.Restart(context.Background(), client.RestartRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if report.Outcome != client.Done {
			t.Fatalf("%+v", report)
		}
		if d := report.Drain; d != nil {
			t.Logf("left in %v; moved %v in %v, longest pause %v; stayed %v, goodbyes %v, cut %+v",
				d.Took, d.Moved, d.MoveTook, d.LongestPause, d.Stayed, d.Goodbyes, d.Cut)
		}
	}
	return r
}

// gorace: else a process under -race takes a second to end.
func gorace() string { return "GORACE=atexit_sleep_ms=0 " + os.Getenv("GORACE") }

// show prints files of the rig when the test has failed.
func (r *rig) show(pattern string) {
	if !r.t.Failed() {
		return
	}
	files, _ := filepath.Glob(filepath.Join(r.dir, pattern))
	for _, f := range files {
		data, _ := os.ReadFile(f)
		r.t.Logf("%s:\n%s", filepath.Base(f), data)
	}
}

// alone starts the service as from a shell. It is restarted by SIGUSR2.
func alone(t *testing.T, more ...string) *rig {
	t.Helper()
	r := newRig(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(r.dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(exe, r.args(more...)...)
	cmd.Env = append(os.Environ(), serviceEnv+"=1", gorace())
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // the whole lineage is of this group
		testproc.Until(t, "the service is gone", func() bool { return syscall.Kill(-cmd.Process.Pid, 0) == syscall.ESRCH })
		<-ended
		r.show("output")
	})
	r.listens(out.Name())
	r.trust()
	pid := cmd.Process.Pid
	r.restart = func() {
		t.Helper()
		if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		old := pid
		testproc.Until(t, "the old process is gone", func() bool { return testproc.Gone(old) })
		if pid = r.pid(); pid == old {
			t.Fatalf("process %d answers, and is gone", pid)
		}
	}
	return r
}

// listens learns the service's addresses from what it writes to output.
func (r *rig) listens(output string) {
	r.t.Helper()
	testproc.Until(r.t, "the service says where it is", func() bool {
		f, err := os.Open(output)
		if err != nil {
			return false
		}
		defer f.Close()
		ready := false
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) == 5 && fields[3] == "serving" {
				r.addrs[strings.TrimSuffix(fields[2], ":")] = fields[4]
			}
			ready = ready || len(fields) == 3 && fields[2] == "ready"
		}
		return ready
	})
	r.addrs["std"] = "unix:" + filepath.Join(r.dir, "std.sock")
}

// near and far are where clients connect: far is ten milliseconds away.
func (r *rig) near(socket string) stay.Target { return stay.Target{Addr: r.addrs[socket], TLS: r.tls} }

func (r *rig) far(socket string) stay.Target {
	r.t.Helper()
	p, err := testnet.Start(testnet.Options{OneWay: 5 * time.Millisecond, Target: r.addrs[socket]})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { p.Close() })
	return stay.Target{Addr: p.Addr(), TLS: r.tls}
}

// start has clients at work, and ends them with the test.
func (r *rig) start(loads ...stay.Load) *stay.Run {
	r.t.Helper()
	run, err := stay.Start(stay.Options{Loads: loads})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("seed %d", run.Ledger().Seed)
	r.t.Cleanup(func() { run.Stop() })
	return run
}

// flow waits until each kind has received a few things more than now.
func (r *rig) flow(run *stay.Run) {
	r.t.Helper()
	before := run.Ledger()
	testproc.Until(r.t, "everything flows", func() bool {
		for _, c := range run.Ledger().Kinds {
			if c.Received < before.Kind(c.Kind).Received+c.Clients {
				return false
			}
		}
		return true
	})
}

// account ends the clients and prints what they have found.
func (r *rig) account(run *stay.Run) stay.Ledger {
	r.t.Helper()
	ledger := run.Stop()
	var table strings.Builder
	ledger.Table(&table)
	r.t.Logf("\n%s", table.String())
	return ledger
}

// pid is the process that answers a new connection.
func (r *rig) pid() int {
	r.t.Helper()
	pid, err := stay.Ask(r.near("web"), "/version")
	if err != nil {
		r.t.Fatal(err)
	}
	return pid
}

// restarts is how often a test restarts.
func restarts() int {
	if os.Getenv("SEGUE_SOAK") != "" {
		return 100
	}
	return 5
}
