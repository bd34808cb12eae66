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
		if err := syscall.Kill(firstChild(t, cmd.Process.Pid), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if _, err := os.Stat(filepath.Join(dir, "asked")); err != nil {
			t.Errorf("the service was not asked to leave: %v", err)
		}
	})
}

// TestFleetAsPID1: several services under the first process of a pid namespace. A
// restart loses nothing, and TERM ends them all in order.
func TestFleetAsPID1(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a pid namespace needs root")
	}
	f := newFleet(t)
	f.api = filepath.Join(f.dir, "run", "fleet", "api.sock")
	out, err := os.Create(f.output())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("unshare", "--fork", "--pid", "--mount-proc", "--kill-child", f.segue, "run", "--file", f.file)
	cmd.Env = append(os.Environ(), "SEGUE_RUNTIME_DIR="+filepath.Join(f.dir, "run"), quick)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) // of what a failure left
	f.serve(1)
	run := f.traffic()
	before := f.pids()
	first := firstChild(t, cmd.Process.Pid)
	if err := syscall.Kill(first, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	testproc.Until(t, "the signal has brought new processes", func() bool { now := f.pids(); return now[0] != before[0] && now[1] != before[1] })
	f.serve(1)
	f.flow(run)
	if err := f.account(run).Err(); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(first, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if data, err := os.ReadFile(f.output()); err != nil || strings.Contains(string(data), "DATA RACE") {
		t.Errorf("%v: %s", err, data)
	}
}

// firstChild is the child that a process has.
func firstChild(t *testing.T, pid int) int {
	t.Helper()
	inside, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	first, err := strconv.Atoi(strings.TrimSpace(string(inside)))
	if err != nil {
		t.Fatal(err)
	}
	return first
}
