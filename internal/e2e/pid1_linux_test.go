package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/segue-go/segue/internal/testproc"
)

// command builds the segue command.
func command(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "segue")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/segue-go/segue/cmd/segue").CombinedOutput(); err != nil {
		t.Fatalf("cannot build the command: %v\n%s", err, out)
	}
	return path
}

// TestPID1 runs `segue run` as the first process of a pid namespace, as in a
// container: it reaps orphans, passes on what ends it, and its exit status is
// the service's.
func TestPID1(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a pid namespace needs root")
	}
	segue := command(t)
	var dir string
	run := func(t *testing.T, script string) *exec.Cmd {
		dir = t.TempDir()
		path := filepath.Join(dir, "service")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("unshare", "--fork", "--pid", "--mount-proc", "--kill-child",
			segue, "run", "--name", "one", "--ready-timeout", "20s", "--", path)
		cmd.Env = append(os.Environ(), "SEGUE_RUNTIME_DIR="+filepath.Join(dir, "run"), "OUT="+dir)
		cmd.Stderr = os.Stderr
		return cmd
	}

	t.Run("orphans are reaped", func(t *testing.T) {
		// The grandchild outlives its parent and becomes PID 1's. A zombie would
		// stay in the process table for ever.
		cmd := run(t, `
			( sh -c 'echo $$ >$OUT/orphan; exec sleep 0.2' & )
			until [ -s $OUT/orphan ]; do sleep 0.01; done
			while [ -d /proc/$(cat $OUT/orphan) ]; do sleep 0.05; done
			echo reaped >$OUT/verdict
			exec sleep 60`)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		testproc.Until(t, "the orphan is reaped", func() bool {
			data, _ := os.ReadFile(filepath.Join(dir, "verdict"))
			return strings.HasPrefix(string(data), "reaped")
		})
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Run("the exit status is the service's", func(t *testing.T) {
		err := run(t, "exit 7").Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 7 {
			t.Errorf("ended with %v, want status 7", err)
		}
	})
	t.Run("a signal ends the service", func(t *testing.T) {
		cmd := run(t, "trap 'echo asked >$OUT/asked; exit 0' TERM\necho up >$OUT/up\nwhile :; do sleep 0.05; done")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		testproc.Until(t, "the service runs", func() bool { _, err := os.Stat(filepath.Join(dir, "up")); return err == nil })
		inside, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		first, err := strconv.Atoi(strings.TrimSpace(string(inside)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(first, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if _, err := os.Stat(filepath.Join(dir, "asked")); err != nil {
			t.Errorf("the service was not asked to leave: %v", err)
		}
	})
}
