package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/testproc"
)

// run starts `segue run` on the fleet's file, under nobody.
func (f *fleet) run() *exec.Cmd {
	f.t.Helper()
	f.api = filepath.Join(f.dir, "run", "fleet", "api.sock")
	out, err := os.OpenFile(f.output(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(f.segue, "run", "--file", f.file)
	cmd.Env, cmd.Stdout, cmd.Stderr = f.environ(), out, out
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Signal(syscall.SIGTERM)
			cmd.Wait()
		}
		if data, _ := os.ReadFile(f.output()); strings.Contains(string(data), "DATA RACE") {
			f.t.Errorf("%s", data)
		}
	})
	f.serve(cmd.Process.Pid)
	return cmd
}

func (f *fleet) environ() []string {
	return append(os.Environ(), "SEGUE_RUNTIME_DIR="+filepath.Join(f.dir, "run"), quick)
}

// says runs a command of segue and returns what it prints.
func (f *fleet) says(args ...string) string {
	f.t.Helper()
	cmd := exec.Command(f.segue, args...)
	cmd.Env = f.environ()
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("segue %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// restarts web, and nothing may be wrong with it.
func (f *fleet) restartsWell() {
	f.t.Helper()
	f.says("restart", "web")
	if r := f.report(); r.Outcome != client.Done || r.Drain == nil || !r.Drain.Told || len(r.Drain.Cut) > 0 || r.Drain.Killed {
		f.t.Errorf("%+v, drain %+v", r, r.Drain)
	}
}

// TestUpgradeInPlace executes the supervisor anew, under every kind of traffic: it
// is the same process, with the same children, and nobody notices. What follows is
// a restart like any other.
func TestUpgradeInPlace(t *testing.T) {
	f := newFleet(t)
	cmd := f.run()
	run := f.traffic()
	before, began := f.pids(), f.serve(0).Since
	for range restarts(3) {
		f.says("upgrade")
		o := f.serve(cmd.Process.Pid)
		if !o.Since.After(began) || f.pids() != before {
			t.Errorf("since %v, was %v; processes %v, were %v", o.Since, began, f.pids(), before)
		}
		began = o.Since
		f.flow(run)
		f.restartsWell()
		if now := f.pids(); now[0] == before[0] || now[1] != before[1] {
			t.Errorf("processes %v, were %v", now, before)
		}
		before = f.pids()
		f.flow(run)
	}
	if fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid)); err != nil || len(fds) > 60 {
		t.Errorf("%d descriptors, %v", len(fds), err)
	}
	if err := f.account(run).Err(); err != nil {
		t.Error(err)
	}
	f.says("stop")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestUpgradeRefused: what is no segue command is not executed, and the supervisor
// goes on.
func TestUpgradeRefused(t *testing.T) {
	f := newFleet(t)
	f.run()
	before := f.serve(0)
	for _, binary := range []string{"/bin/true", "/no/such/segue"} {
		cmd := exec.Command(f.segue, "upgrade", "--binary", binary)
		cmd.Env = f.environ()
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "cannot ") || !strings.Contains(string(out), "hint: ") {
			t.Errorf("%s: %v\n%s", binary, err, out)
		}
	}
	if after := f.serve(0); !after.Since.Equal(before.Since) {
		t.Errorf("%+v", after)
	}
	f.restartsWell()
}

// TestSupervisorKilled at rest, and at a random moment of a restart, under every
// kind of traffic: the services serve, the next supervisor takes them over, and
// nothing is lost. Of a restart that was under way one of the two generations
// goes on, and the other one has left.
func TestSupervisorKilled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	f := newFleet(t)
	cmd := f.run()
	run := f.traffic()
	kill := func() {
		t.Helper()
		cmd.Process.Kill()
		cmd.Wait()
	}
	before := f.pids()
	kill()
	f.flow(run)
	cmd = f.run()
	if now := f.pids(); now != before {
		t.Errorf("processes %v, were %v", now, before)
	}
	f.restartsWell()
	f.flow(run)
	// In probation: the new one serves, and goes on; the old one waits for a while
	// whether it is needed.
	old := f.pids()[0]
	restart := exec.Command(f.segue, "restart", "web")
	restart.Env = f.environ()
	if err := restart.Start(); err != nil {
		t.Fatal(err)
	}
	o := f.is("a generation is paused", func(o client.Overview) bool {
		return slices.ContainsFunc(o.Services[0].Generations, func(g client.Generation) bool { return g.Role == client.RolePaused })
	})
	kill()
	restart.Wait()
	f.flow(run)
	cmd = f.run()
	f.is("the old one has left", func(o client.Overview) bool {
		g := o.Services[0].Generations
		return len(g) == 1 && g[0].PID != old && g[0].Role == client.RoleServing && g[0].Managed
	})
	f.restartsWell()
	for n := range restarts(4) {
		after := time.Duration(random.IntN(1200)) * time.Millisecond // of about a second
		old = f.pids()[0]
		restart = exec.Command(f.segue, "restart", "web")
		restart.Env = f.environ()
		if err := restart.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after) // a moment of the restart, whichever
		kill()
		restart.Wait()
		cmd = f.run()
		o = f.is("one generation is left", func(o client.Overview) bool {
			g := o.Services[0].Generations
			return len(g) == 1 && g[0].Role == client.RoleServing && g[0].Managed
		})
		serves := o.Services[0].Generations[0].PID
		t.Logf("kill %d, after %v: %d served, %d serves", n+1, after, old, serves)
		testproc.Until(t, "nobody else answers", func() bool { return f.pids()[0] == serves })
		f.restartsWell()
		f.flow(run)
	}
	if err := f.account(run).Err(); err != nil {
		t.Error(err)
	}
	f.says("stop")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestReloadUnderLoad replaces the service whose part of the file has changed, and
// then goes back by rollback; the other one is not touched.
func TestReloadUnderLoad(t *testing.T) {
	f := newFleet(t)
	f.run()
	run := f.traffic()
	before := f.pids()
	text, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.file, []byte(strings.Replace(string(text), "E2E_DIR:", "MORE: x, E2E_DIR:", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	f.says("reload")
	report := f.report()
	f.met(run, "reload", began, f.began(report, handover.StepSwitch))
	changed := f.pids()
	if changed[0] == before[0] || changed[1] != before[1] {
		t.Errorf("processes %v, were %v", changed, before)
	}
	f.flow(run)
	f.says("rollback", "web")
	if report := f.report(); report.Action != "rollback" || report.Outcome != client.Done {
		t.Errorf("%+v", report)
	}
	if err := os.WriteFile(f.file, []byte("services: {web: {comand: x}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(f.segue, "reload")
	cmd.Env = f.environ()
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "segue.yaml:1:18") {
		t.Errorf("%v\n%s", err, out)
	}
	f.flow(run)
	if err := f.account(run).Err(); err != nil {
		t.Error(err)
	}
}
