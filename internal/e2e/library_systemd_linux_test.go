package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/testproc"
)

// TestLibraryReload: a service without a supervisor of ours, as `segue generate
// systemd --library` writes it. Where systemd knows notify-reload, `systemctl
// reload` returns when the handover is over; elsewhere it is only asked for.
func TestLibraryReload(t *testing.T) {
	for _, version := range systemds {
		t.Run(version.name, func(t *testing.T) {
			s, r := version.boot(t), newRig(t)
			r.brief = true
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			waits := version.name == "newer"
			args := []string{"generate", "systemd", "--library", "--name", "e2e"}
			if waits {
				args = append(args, "--systemd-version", "253")
			} else {
				args = append(args, "--systemd-version", "252")
			}
			text, err := exec.Command(command(t), append(args, "--", exe)...).Output()
			if err != nil {
				t.Fatal(err)
			}
			output := r.dir + "/output"
			s.Unit("e2e.service", fmt.Sprintf("%s\n[Service]\nEnvironment=E2E_DIR=%s %s\nStandardOutput=append:%s\nStandardError=inherit\n", text, r.dir, quick, output))
			s.Ctl("daemon-reload")
			s.Ctl("start", "e2e.service")
			t.Cleanup(func() {
				if t.Failed() {
					out, _ := os.ReadFile(output)
					t.Logf("%s", out)
				}
			})
			r.listens(output)
			run := r.traffic()
			main := func() string { return s.Property("e2e.service", "MainPID") }
			for n := range restarts(1) {
				before, began := main(), time.Now()
				s.Ctl("reload", "e2e.service")
				if waits && main() == before {
					t.Fatal("the reload is over, and the main process is the same")
				}
				testproc.Until(t, "systemd has a new main process", func() bool { return main() != before })
				testproc.Until(t, "the old process has left", func() bool { return len(s.Left("e2e.service")) == 1 })
				r.met(run, fmt.Sprintf("reload %d", n+1), began, r.switched(r.handedOver()))
				if pid := r.who().PID; main() != strconv.Itoa(pid) || s.Property("e2e.service", "ActiveState") != "active" {
					t.Errorf("process %d answers, systemd's main process is %s", pid, main())
				}
				r.flow(run)
			}
			r.fault("exit")
			before := main()
			s.Ctl("reload", "e2e.service")
			testproc.Until(t, "systemd is told of the rollback", func() bool { return strings.Contains(s.Property("e2e.service", "StatusText"), "rolled back") })
			if report := r.handedOver(); report.Outcome != handover.RolledBack || main() != before {
				t.Errorf("%q; main process %s, before %s", report.Outcome, main(), before)
			}
			r.flow(run)
			if err := r.account(run).Err(); err != nil {
				t.Error(err)
			}
			s.Ctl("stop", "e2e.service")
			if result, left := s.Property("e2e.service", "Result"), s.Left("e2e.service"); result != "success" || len(left) > 0 {
				t.Errorf("the unit ended with %s and left %v", result, left)
			}
		})
	}
}
