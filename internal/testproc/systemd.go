package testproc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Systemd is a real systemd, PID 1 of namespaces of its own.
type Systemd struct {
	t   testing.TB
	dir string
	pid string
}

// BootSystemd starts one, until the test ends, with the scripts in tools, the
// directory of this repository. It skips the test if the machine has none.
func BootSystemd(t testing.TB, tools string) *Systemd {
	t.Helper()
	return boot(t, tools, "")
}

// BootSystemdOf is BootSystemd with one of at least this version: the machine's, or
// the one in the directory that SEGUE_SYSTEMD names (tools/systemd-get.sh).
func BootSystemdOf(t testing.TB, tools string, version int) *Systemd {
	t.Helper()
	out, _ := exec.Command("systemctl", "--version").Output()
	var have int
	fmt.Sscanf(string(out), "systemd %d", &have)
	root := os.Getenv("SEGUE_SYSTEMD")
	switch {
	case have >= version:
		root = ""
	case root == "":
		t.Skipf("SKIPPED: systemd %d or later is not there (tools/systemd-get.sh DIR fetches one, SEGUE_SYSTEMD=DIR uses it)", version)
	}
	return boot(t, tools, root)
}

func boot(t testing.TB, tools, root string) *Systemd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a private systemd needs root")
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip("SKIPPED: systemd is not installed (apt-get install systemd)")
	}
	tools, err := filepath.Abs(tools)
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
	out, err := exec.Command(filepath.Join(tools, "systemd-up.sh"), dir, root).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd does not start: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "err"))
			t.Logf("%s", log)
		}
		if out, err := exec.Command(filepath.Join(tools, "systemd-down.sh"), dir).CombinedOutput(); err != nil {
			t.Errorf("systemd does not end: %v\n%s", err, out)
		}
	})
	return &Systemd{t, dir, strings.TrimSpace(string(out))}
}

// Ctl is systemctl, which must succeed; it returns what that writes.
func (s *Systemd) Ctl(args ...string) string {
	s.t.Helper()
	return s.Exec(append([]string{"systemctl"}, args...)...)
}

// Exec runs a program beside it, which must succeed; it returns what that writes.
func (s *Systemd) Exec(args ...string) string {
	s.t.Helper()
	out, err := s.Try(args...)
	if err != nil {
		s.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// Try is Exec of what may fail.
func (s *Systemd) Try(args ...string) (string, error) {
	out, err := exec.Command("nsenter", append([]string{"-t", s.pid, "-m", "-p"}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Path is a path as seen from outside that for its processes is path: their /run and
// /sys are their own.
func (s *Systemd) Path(path string) string { return "/proc/" + s.pid + "/root" + path }

// Left are the processes of a unit, by their numbers inside.
func (s *Systemd) Left(unit string) []string {
	s.t.Helper()
	group := s.Property(unit, "ControlGroup")
	if group == "" {
		group = "/system.slice/" + unit // what is not active may have processes still
	}
	out, err := s.Try("cat", "/sys/fs/cgroup"+group+"/cgroup.procs")
	if err != nil {
		return nil
	}
	return strings.Fields(out)
}

// Property is one of a unit's.
func (s *Systemd) Property(unit, name string) string {
	s.t.Helper()
	return s.Ctl("show", "-p", name, "--value", unit)
}

// Unit writes a unit file. It has no default dependencies.
func (s *Systemd) Unit(name, text string) {
	s.t.Helper()
	text = "[Unit]\nDefaultDependencies=no\n" + text
	if err := os.WriteFile(filepath.Join(s.dir, "units", name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}
