//go:build linux

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNobodyReads: what `segue run` writes goes to a pipe that is full, as that
// of a pager on which somebody has fallen asleep. It serves, and a signal ends it.
func TestNobodyReads(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	size, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	env := append(os.Environ(), "SEGUE_RUNTIME_DIR="+dir, "GORACE=atexit_sleep_ms=0")
	cmd := exec.Command("segue", "run", "--listen", "web=unix:"+filepath.Join(dir, "web"), "--", "shop")
	cmd.Env, cmd.Stdout, cmd.Stderr = env, w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		status := exec.Command("segue", "status")
		status.Env = env
		if out, _ := status.Output(); strings.Contains(string(out), "shop is serving") {
			break
		}
		select {
		case <-tick.C:
		case err := <-ended:
			t.Fatalf("it ended with %v", err)
		case <-late:
			cmd.Process.Kill()
			t.Fatal("it does not serve")
		}
	}
	cmd.Process.Signal(unix.SIGTERM)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		cmd.Process.Kill()
		t.Fatal("SIGTERM does not end it")
	}
}
