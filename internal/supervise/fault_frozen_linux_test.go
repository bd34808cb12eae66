package supervise_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/testproc"
)

// freeze stops a process as a debugger does, or a machine that hangs.
func freeze(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGCONT) })
	testproc.Until(t, "every thread has stopped", func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		return !slices.ContainsFunc(threads, func(f string) bool {
			stat, _ := os.ReadFile(f)
			_, state, _ := strings.Cut(string(stat), ") ")
			return !strings.HasPrefix(state, "T")
		})
	})
}

// TestFrozenOldOne: the old generation answers nothing. That is no reason to keep it:
// the new one serves, and the report says what the old one did not do. When it thaws
// it leaves as any other.
func TestFrozenOldOne(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Probes = nil
	r := start(t, c)
	old := r.status().Generations[0].PID
	freeze(t, old)
	reports := make(chan client.Report, 1)
	go func() { reports <- r.restart(client.RestartRequest{}) }()
	r.awaitRole(1, client.RoleDraining)
	if now := r.get("/"); now == fmt.Sprint(old) {
		t.Errorf("process %s answers, which is frozen", now)
	}
	syscall.Kill(old, syscall.SIGCONT)
	report := <-reports
	if report.Outcome != client.Done || report.Drain == nil || !report.Drain.Told || report.Drain.Killed {
		t.Errorf("%+v, drain %+v", report, report.Drain)
	}
	for _, s := range report.Steps {
		if s.Name == "switch" && s.Note != "the old generation could not be paused: no answer to PAUSE: nothing came within 5s" {
			t.Errorf("the switch says %q", s.Note)
		}
	}
}

// TestFrozenNewOne: the new generation hangs at its start, or in its probation. The
// old one serves; the new one is killed, which is the only thing that it obeys.
func TestFrozenNewOne(t *testing.T) {
	t.Run("start", func(t *testing.T) {
		t.Parallel()
		c := config(t, "TEST_SERVICE=hang", "FAULT_AFTER=1")
		c.ReadyTimeout, c.KillAfter = 500*time.Millisecond, 100*time.Millisecond
		r := start(t, c)
		old := r.get("/")
		reports := make(chan client.Report, 1)
		go func() { reports <- r.restart(client.RestartRequest{}) }()
		e := r.await(func(e client.Event) bool {
			return e.Kind == client.EventGeneration && e.Generation == 2 && e.Role == client.RoleStarting
		})
		freeze(t, e.PID)
		report := <-reports
		if report.Outcome != client.RolledBack || report.FailedStep != "ready" || !gone(e.PID) {
			t.Errorf("%+v", report)
		}
		if now := r.get("/"); now != old {
			t.Errorf("process %s serves, not %s", now, old)
		}
	})
	t.Run("probation", func(t *testing.T) {
		if testing.Short() {
			t.Skip("takes twenty seconds")
		}
		t.Parallel()
		c := config(t)
		c.Probes, c.Probation, c.DrainTimeout, c.KillAfter = nil, 30*time.Second, 0, 100*time.Millisecond
		r := start(t, c)
		old := r.get("/")
		reports := make(chan client.Report, 1)
		go func() { reports <- r.restart(client.RestartRequest{}) }()
		r.awaitRole(1, client.RolePaused)
		next := r.status().Generations[1].PID
		freeze(t, next)
		frozen := time.Now()
		// Who comes now waits, and is not turned away.
		if now := r.get("/"); now != old {
			t.Errorf("process %s serves, not %s", now, old)
		}
		t.Logf("a client has waited for %v", time.Since(frozen))
		r.awaitState(client.Serving)
		syscall.Kill(next, syscall.SIGKILL) // which it would be in a quarter of a minute
		if report := <-reports; report.Outcome != client.RolledBack || report.FailedStep != "probation" {
			t.Errorf("%+v", report)
		}
	})
}

// TestSocketsRemoved: somebody has removed the sockets in the runtime directory, over
// which generations speak. A new one cannot: the restart is rolled back, and shows
// why; the old one serves.
func TestSocketsRemoved(t *testing.T) {
	t.Run("control.sock", func(t *testing.T) {
		t.Parallel()
		c := config(t)
		r := start(t, c)
		old := r.get("/")
		path := filepath.Join(c.RuntimeDir, "control.sock")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		notHeard(t, r.restart(client.RestartRequest{}), path)
		if now := r.get("/"); now != old {
			t.Errorf("process %s serves, not %s", now, old)
		}
	})
	t.Run("notify.sock", func(t *testing.T) {
		t.Parallel()
		h := open(t, idler(t, "a"))
		h.becomes(client.Serving, "a")
		old, path := h.pid("a"), filepath.Join(h.plan.Dir, "a", "notify.sock")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		report, err := h.Restart(t.Context(), "a", client.RestartRequest{})
		if err != nil {
			t.Fatal(err)
		}
		notHeard(t, report, path)
		if now := h.pid("a"); now != old || gone(old) {
			t.Errorf("process %d serves, not %d", now, old)
		}
	})
}

func notHeard(t *testing.T, r client.Report, socket string) {
	t.Helper()
	if r.Outcome != client.RolledBack || r.FailedStep != "ready" || !strings.Contains(strings.Join(r.Output, "\n"), socket) {
		t.Errorf("%+v", r)
	}
}
