//go:build linux

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/testproc"
)

// TestZeroLossSupervised restarts under every kind of traffic.
func TestZeroLossSupervised(t *testing.T) {
	r, s := supervised(t)
	run := r.traffic()
	for i := range restarts(10) {
		began := time.Now()
		report, err := s.Restart(context.Background(), client.RestartRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if report.Outcome != client.Done {
			t.Fatalf("restart %d: %+v", i, report)
		}
		if report.Drain == nil || !report.Drain.Told || len(report.Drain.Cut) > 0 {
			t.Errorf("restart %d: drain %+v", i, report.Drain)
		}
		r.met(run, fmt.Sprintf("restart %d", i+1), began, r.began(report, handover.StepSwitch))
		r.check(report.From, report.To)
		r.flow(run)
	}
	if err := r.account(run).Err(); err != nil {
		t.Error(err)
	}
}

// TestZeroLossRollback has new generations fail in every way, before the switch
// and on probation. Nothing is lost: before the switch nothing was touched, and
// who fails its probes on probation lives, and finishes what it has accepted.
func TestZeroLossRollback(t *testing.T) {
	r, s := supervised(t)
	old := r.who()
	run := r.traffic()
	noProgram := filepath.Join(r.dir, "service") // execve(2) refuses it with ENOEXEC
	if err := os.WriteFile(noProgram, []byte("a release that was cut short\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		fault, binary string
		step          handover.StepName
		reason        string
	}{
		{fault: "", binary: noProgram, step: handover.StepSpawn, reason: syscall.ENOEXEC.Error()},
		{fault: "exit", step: handover.StepReady, reason: "exited with status 3"},
		{fault: "late", step: handover.StepReady},
		{fault: "hang", step: handover.StepReady},
		{fault: "disk", step: handover.StepReady, reason: "exited with status 1"},
		{fault: "check", step: handover.StepReady},
		{fault: "closefds", step: handover.StepReady},
		{fault: "sick", step: handover.StepTrial, reason: "500"},
		{fault: "diesintrial", step: handover.StepTrial, reason: "exited with status 5"},
		{fault: "sickonprobation", step: handover.StepProbation, reason: "500"},
	} {
		name := c.fault + c.binary
		r.fault(c.fault)
		began := time.Now()
		report, err := s.Restart(context.Background(), client.RestartRequest{Binary: c.binary})
		if err != nil {
			t.Fatal(err)
		}
		r.rolledBack(name, report, c.step, c.reason)
		r.flow(run)
		failed := handover.StepRollback
		if c.step == handover.StepSpawn {
			failed = c.step // there is nothing to roll back
		}
		r.met(run, name, began, r.began(report, failed))
		if c.step == handover.StepProbation {
			r.met(run, name+": switch", began, r.began(report, handover.StepSwitch))
		}
		if now := r.who(); now.PID != old.PID {
			t.Errorf("%s: process %d serves, not %d", name, now.PID, old.PID)
		}
	}
	if _, err := s.Restart(context.Background(), client.RestartRequest{Binary: "/nowhere/service"}); err == nil {
		t.Error("a program that does not exist was accepted")
	}
	if err := r.account(run).Err(); err != nil {
		t.Error(err)
	}
}

// rolledBack: the restart failed at step, for the reason, and its process is gone.
func (r *rig) rolledBack(name string, report client.Report, step handover.StepName, reason string) {
	r.t.Helper()
	if report.Outcome != client.RolledBack || handover.StepName(report.FailedStep) != step || report.Reason == "" || !strings.Contains(report.Reason, reason) {
		r.t.Errorf("%s: %q at %q: %s", name, report.Outcome, report.FailedStep, report.Reason)
	}
	if len(report.Lost) > 0 || report.LostMore > 0 {
		r.t.Errorf("%s: lost %+v and %d more", name, report.Lost, report.LostMore)
	}
	if step == handover.StepSpawn {
		if report.To != nil {
			r.t.Errorf("%s: there is a new generation: %+v", name, report.To)
		}
	} else if report.To == nil || !gone(report.To.PID) {
		r.t.Errorf("%s: the failed process is still there: %+v", name, report.To)
	}
}

// TestIdleService: without a single client the old process must go too, and
// must not take the next connection.
func TestIdleService(t *testing.T) {
	r, s := supervised(t)
	for range 3 {
		report, err := s.Restart(context.Background(), client.RestartRequest{})
		if err != nil || report.Outcome != client.Done {
			t.Fatalf("%+v %v", report, err)
		}
		r.check(report.From, report.To)
	}
}

// TestZeroLossBySignal hands over from process to process, with nobody above.
func TestZeroLossBySignal(t *testing.T) {
	r := newRig(t)
	pid := r.alone()
	run := r.traffic()
	for i := range restarts(10) {
		began := time.Now()
		if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		next := pid
		testproc.Until(t, "another process answers", func() bool { next = r.who().PID; return next != pid })
		testproc.Until(t, "the old process is gone", func() bool { return testproc.Gone(pid) })
		report := r.handedOver()
		if report.Outcome != handover.Done {
			t.Fatalf("handover %d: %+v", i+1, report)
		}
		r.met(run, fmt.Sprintf("handover %d", i+1), began, r.switched(report))
		pid = next
		if w := r.who(); w.PID != pid {
			t.Errorf("process %d answers, not %d", w.PID, pid)
		}
		r.flow(run)
	}
	r.fault("exit")
	if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	if report := r.handedOver(); report.Outcome != handover.RolledBack || !strings.Contains(report.Reason, "exited with status 3") {
		t.Errorf("%q at %q: %s", report.Outcome, report.Failed, report.Reason)
	}
	r.flow(run)
	if w := r.who(); w.PID != pid {
		t.Errorf("process %d answers after a failed handover, not %d", w.PID, pid)
	}
	if err := r.account(run).Err(); err != nil {
		t.Error(err)
	}
}

// alone starts the service as from a shell, and learns its addresses from what
// it says.
func (r *rig) alone(env ...string) (pid int) {
	r.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(r.dir, "output"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), "E2E_DIR="+r.dir), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	r.t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // the whole lineage is of this group
		testproc.Until(r.t, "the service is gone", func() bool {
			return syscall.Kill(-cmd.Process.Pid, 0) == syscall.ESRCH
		})
		<-ended
		if r.t.Failed() {
			data, _ := os.ReadFile(out.Name())
			r.t.Logf("%s", data)
		}
	})
	r.listens(out.Name())
	return cmd.Process.Pid
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
	r.addrs["local"] = "unix:" + r.addrs["local"]
	r.tls.Addr = r.addrs["tls"]
}
