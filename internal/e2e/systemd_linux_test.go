package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handover"
)

// systemd is a real one, PID 1 of private namespaces.
type systemd struct {
	t   *testing.T
	dir string
	pid string
}

func bootSystemd(t *testing.T) *systemd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a private systemd needs root")
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip("SKIPPED: systemd is not installed (apt-get install systemd)")
	}
	tools, err := filepath.Abs("../../tools")
	if err != nil {
		t.Fatal(err)
	}
	// Its control group is named after the last part of the directory, and
	// t.TempDir would give every run the same.
	dir, err := os.MkdirTemp("", "systemd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &systemd{t: t, dir: dir}
	out, err := exec.Command(filepath.Join(tools, "systemd-up.sh"), s.dir).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd does not start: %v\n%s", err, out)
	}
	s.pid = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(s.dir, "err"))
			t.Logf("%s", log)
		}
		if out, err := exec.Command(filepath.Join(tools, "systemd-down.sh"), s.dir).CombinedOutput(); err != nil {
			t.Errorf("systemd does not end: %v\n%s", err, out)
		}
	})
	return s
}

// run runs a command where this systemd is PID 1.
func (s *systemd) run(args ...string) (string, error) {
	out, err := exec.Command("nsenter", append([]string{"-t", s.pid, "-m", "-p"}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (s *systemd) ctl(args ...string) string {
	s.t.Helper()
	out, err := s.run(append([]string{"systemctl"}, args...)...)
	if err != nil {
		s.t.Fatalf("systemctl %v: %v\n%s", args, err, out)
	}
	return out
}

func (s *systemd) unit(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "units", name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *systemd) property(name string) string {
	s.t.Helper()
	return s.ctl("show", "-p", name, "--value", "e2e.service")
}

// TestZeroLossUnderSystemd: socket activation, Type=notify, and handovers by
// SIGUSR2 in which the unit follows the new main process (MAINPID= in
// sd_notify(3)) only once it is proven.
func TestZeroLossUnderSystemd(t *testing.T) {
	s := bootSystemd(t)
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
	r.addrs["web"], r.addrs["tls"] = unusedAddr(t), unusedAddr(t)
	r.addrs["local"] = "unix:" + filepath.Join(r.dir, "local.sock")
	r.tls.Addr = r.addrs["tls"]
	var sockets []string
	for name, addr := range r.addrs {
		sockets = append(sockets, "e2e-"+name+".socket")
		s.unit("e2e-"+name+".socket", fmt.Sprintf("[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=%s\nFileDescriptorName=%s\nService=e2e.service\n",
			strings.TrimPrefix(addr, "unix:"), name))
	}
	s.unit("e2e.service", fmt.Sprintf("[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nExecStart=%s\nEnvironment=E2E_DIR=%s\nSockets=%s\nWatchdogSec=10\nStandardOutput=append:%s/output\nStandardError=inherit\n",
		exe, r.dir, strings.Join(sockets, " "), r.dir))
	s.ctl("daemon-reload")
	s.ctl(append([]string{"start"}, sockets...)...)
	s.ctl("start", "e2e.service")

	run := r.traffic()
	pid := r.who().PID
	if main := s.property("MainPID"); main != strconv.Itoa(pid) {
		t.Fatalf("process %d answers, systemd's main process is %s", pid, main)
	}
	for i := range restarts(3) {
		began := time.Now()
		s.ctl("kill", "--kill-who=main", "-s", "USR2", "e2e.service")
		before := strconv.Itoa(pid)
		until(t, "systemd has a new main process", func() bool { return s.property("MainPID") != before })
		until(t, "the old process has left", func() bool { return !strings.Contains(s.ctl("status", "e2e.service"), before+" ") })
		r.met(run, fmt.Sprintf("handover %d", i+1), began, r.switched(r.handedOver()))
		pid = r.who().PID
		if main := s.property("MainPID"); main != strconv.Itoa(pid) {
			t.Errorf("process %d answers, systemd's main process is %s", pid, main)
		}
		if state := s.property("ActiveState"); state != "active" {
			t.Errorf("the unit is %s", state)
		}
		r.flow(run)
	}

	r.fault("exit")
	s.ctl("kill", "--kill-who=main", "-s", "USR2", "e2e.service")
	until(t, "systemd is told of the rollback", func() bool { return strings.Contains(s.property("StatusText"), "rolled back") })
	if report := r.handedOver(); report.Outcome != handover.RolledBack || !strings.Contains(report.Reason, "the new generation ended") { // its status is for systemd, its parent
		t.Errorf("%q at %q: %s", report.Outcome, report.Failed, report.Reason)
	}
	if main := s.property("MainPID"); main != strconv.Itoa(pid) {
		t.Errorf("systemd's main process is %s after a rollback, not %d", main, pid)
	}
	r.flow(run)
	if err := r.account(run).Err(); err != nil {
		t.Error(err)
	}
	s.ctl("stop", "e2e.service")
	if result := s.property("Result"); result != "success" {
		t.Errorf("the unit ended with %s", result)
	}
}

// unusedAddr is below the ports that client sockets use.
func unusedAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000))
		if ln, err := net.Listen("tcp", addr); err == nil {
			ln.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}
