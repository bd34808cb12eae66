package grpcsegue

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/internal/testnet"
)

// TestHandover: ten handovers (SEGUE_SOAK=1: a hundred) under quick and slow
// unary calls and server streams, on loopback and ten milliseconds away. Nothing
// fails, no stream has a gap, nothing is applied twice, and every process has
// served every kind.
func TestHandover(t *testing.T) {
	t.Run("loopback", func(t *testing.T) {
		handOver(t, func(addr string) string { return addr })
	})
	t.Run("distant", func(t *testing.T) {
		handOver(t, func(addr string) string {
			p, err := testnet.Start(testnet.Options{OneWay: 5 * time.Millisecond, Target: addr})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.Close() })
			return p.Addr()
		})
	})
}

// handOver hands over again and again; via is where clients reach an address.
func handOver(t *testing.T, via func(addr string) string) {
	ledger := filepath.Join(t.TempDir(), "applied")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envService+"=127.0.0.1:0", envLedger+"="+ledger,
		"GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE")) // else a process under -race takes a second to end
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines := make(chan string, 4096)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			lines <- s.Text()
		}
	}()
	// await returns what follows kind in a line of process pid.
	await := func(pid int, kind, prefix string) string {
		t.Helper()
		late := time.After(patience)
		for {
			select {
			case line, ok := <-lines:
				if !ok {
					t.Fatal("every process has ended")
				}
				t.Log(line)
				if text, ok := strings.CutPrefix(line, fmt.Sprintf("%d segue.%s ", pid, kind)); ok && strings.HasPrefix(text, prefix) {
					return text
				}
			case <-late:
				t.Fatalf("process %d never said %s %q", pid, kind, prefix)
			}
		}
	}
	pids := []int{cmd.Process.Pid}
	t.Cleanup(func() {
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		for range lines { // until the last one has ended
		}
		r.Close()
		cmd.Wait()
	})
	addr := strings.TrimPrefix(await(pids[0], "Listening", "grpc: serving "), "grpc: serving ")
	await(pids[0], "PhaseChanged", "ready")

	f := newFlow(t, via(addr))
	t.Cleanup(f.stop)
	f.hasServed(pids[0])
	handovers := 10
	if os.Getenv("SEGUE_SOAK") != "" {
		handovers = 100
	}
	for n := range handovers {
		old := pids[len(pids)-1]
		f.underWay()
		trigger := time.Now()
		if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		// What had begun before the signal and has not ended after it was in
		// flight when it came. A quick call may be between two by chance.
		if met := f.inFlight(trigger); met[slow] == 0 || met[stream] == 0 {
			t.Errorf("handover %d has met %v", n+1, met)
		}
		var next int
		if text := await(old, "HandoverEnded", ""); !strings.HasPrefix(text, "handover: done") {
			t.Fatal(text)
		} else if _, err := fmt.Sscanf(text, "handover: done, process %d serves", &next); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, next)
		if text := await(old, "Reported", ""); !strings.Contains(text, " 0 cut") {
			t.Error(text)
		}
		f.hasServed(next)
	}
	f.stop()
	last := pids[len(pids)-1]
	syscall.Kill(last, syscall.SIGTERM)
	await(last, "PhaseChanged", "stopped")
	f.account(ledger)
}
