//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/segue-go/segue/internal/testproc"
)

// TestUnderSupervisord: supervisord would start a second copy of a service that
// hands over and leaves, so SIGUSR2 is refused with the reason, and the service
// goes on.
func TestUnderSupervisord(t *testing.T) {
	if _, err := exec.LookPath("supervisord"); err != nil {
		t.Skip("SKIPPED: supervisord is not installed (apt-get install supervisor)")
	}
	r := newRig(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(r.dir, "supervisord.conf")
	output := filepath.Join(r.dir, "output")
	text := fmt.Sprintf("[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile=%s/pid\n"+
		"[program:e2e]\ncommand=%s\nenvironment=E2E_DIR=\"%s\"\nredirect_stderr=true\nstdout_logfile=%s\n", r.dir, exe, r.dir, output)
	if os.Geteuid() == 0 {
		text = strings.Replace(text, "[supervisord]\n", "[supervisord]\nuser=root\n", 1)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("supervisord", "-c", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	r.listens(output)
	before := r.who()
	if err := syscall.Kill(before.PID, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	testproc.Until(t, "the handover is refused", func() bool {
		data, _ := os.ReadFile(output)
		return strings.Contains(string(data), "cannot hand over under supervisord")
	})
	if now := r.who(); now.PID != before.PID {
		t.Errorf("process %d answers, not %d", now.PID, before.PID)
	}
}
