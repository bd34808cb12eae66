package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/testproc"
)

// TestZeroLossUnderSystemd: socket activation, Type=notify, and handovers by
// SIGUSR2 in which the unit follows the new main process (MAINPID= in
// sd_notify(3)) only once it is proven.
func TestZeroLossUnderSystemd(t *testing.T) {
	s := testproc.BootSystemd(t, "../../tools")
	r := newRig(t)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := os.ReadFile(filepath.Join(r.dir, "output"))
			t.Logf("%s", out)
		}
	})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r.addrs["web"], r.addrs["tls"] = testproc.UnusedAddr(t), testproc.UnusedAddr(t)
	r.addrs["local"] = "unix:" + filepath.Join(r.dir, "local.sock")
	r.tls.Addr = r.addrs["tls"]
	var sockets []string
	for name, addr := range r.addrs {
		sockets = append(sockets, "e2e-"+name+".socket")
		s.Unit("e2e-"+name+".socket", fmt.Sprintf("[Socket]\nListenStream=%s\nFileDescriptorName=%s\nService=e2e.service\n",
			strings.TrimPrefix(addr, "unix:"), name))
	}
	s.Unit("e2e.service", fmt.Sprintf("[Service]\nType=notify\nExecStart=%s\nEnvironment=E2E_DIR=%s\nSockets=%s\nWatchdogSec=10\nStandardOutput=append:%s/output\nStandardError=inherit\n",
		exe, r.dir, strings.Join(sockets, " "), r.dir))
	s.Ctl("daemon-reload")
	s.Ctl(append([]string{"start"}, sockets...)...)
	s.Ctl("start", "e2e.service")

	run := r.traffic()
	pid := r.who().PID
	if main := s.Property("e2e.service", "MainPID"); main != strconv.Itoa(pid) {
		t.Fatalf("process %d answers, systemd's main process is %s", pid, main)
	}
	for i := range restarts(3) {
		began := time.Now()
		s.Ctl("kill", "--kill-who=main", "-s", "USR2", "e2e.service")
		before := strconv.Itoa(pid)
		testproc.Until(t, "systemd has a new main process", func() bool { return s.Property("e2e.service", "MainPID") != before })
		testproc.Until(t, "the old process has left", func() bool { return !strings.Contains(s.Ctl("status", "e2e.service"), before+" ") })
		r.met(run, fmt.Sprintf("handover %d", i+1), began, r.switched(r.handedOver()))
		pid = r.who().PID
		if main := s.Property("e2e.service", "MainPID"); main != strconv.Itoa(pid) {
			t.Errorf("process %d answers, systemd's main process is %s", pid, main)
		}
		if state := s.Property("e2e.service", "ActiveState"); state != "active" {
			t.Errorf("the unit is %s", state)
		}
		r.flow(run)
	}

	r.fault("exit")
	s.Ctl("kill", "--kill-who=main", "-s", "USR2", "e2e.service")
	testproc.Until(t, "systemd is told of the rollback", func() bool { return strings.Contains(s.Property("e2e.service", "StatusText"), "rolled back") })
	if report := r.handedOver(); report.Outcome != handover.RolledBack || !strings.Contains(report.Reason, "the new generation ended") { // its status is for systemd, its parent
		t.Errorf("%q at %q: %s", report.Outcome, report.Failed, report.Reason)
	}
	if main := s.Property("e2e.service", "MainPID"); main != strconv.Itoa(pid) {
		t.Errorf("systemd's main process is %s after a rollback, not %d", main, pid)
	}
	r.flow(run)
	if err := r.account(run).Err(); err != nil {
		t.Error(err)
	}
	s.Ctl("stop", "e2e.service")
	if result := s.Property("e2e.service", "Result"); result != "success" {
		t.Errorf("the unit ended with %s", result)
	}
}
