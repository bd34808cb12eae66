package supervise_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testnet"
)

// supervisor supervises the service in a process of its own, so that it can be
// killed. It says where the service is.
func supervisor(dir string) int {
	exe, err := os.Executable()
	if err != nil {
		return 1
	}
	watchdog, _ := time.ParseDuration(os.Getenv("TEST_WATCHDOG"))
	s, err := supervise.New(supervise.Config{
		Name: "test", Argv: []string{exe}, RuntimeDir: dir, Watchdog: watchdog,
		Env:          []string{"TEST_SUPERVISOR="},
		Listen:       []supervise.Listen{{Name: "web", Addr: "127.0.0.1:0"}},
		ReadyTimeout: 30 * time.Second, Trial: 50 * time.Millisecond, Probation: 200 * time.Millisecond, DrainTimeout: 10 * time.Second,
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	events, _ := s.Subscribe()
	go func() {
		for e := range events {
			if e.Kind == client.EventState && e.State == client.Serving {
				fmt.Println(s.Status().Sockets[0].Addr)
			}
		}
	}()
	if err := s.Run(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// supervised starts a supervisor, and returns where the service is. Its
// generations are gone with the test.
func supervised(t *testing.T, dir string, env ...string) (cmd *exec.Cmd, addr string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(exe)
	cmd.Env = append(os.Environ(), "TEST_SUPERVISOR="+dir, "TEST_LINEAGE="+dir, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range lineage(dir) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		cmd.Wait()
		logs, _ := filepath.Glob(filepath.Join(dir, "logs", "*.log"))
		for _, name := range logs {
			if text, err := os.ReadFile(name); err == nil && t.Failed() {
				t.Logf("%s:\n%s", filepath.Base(name), text)
			}
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(line)
}

// lineage is the processes of a supervisor and its generations.
func lineage(dir string) (pids []int) {
	names, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range names {
		env, _ := os.ReadFile(name)
		if strings.Contains("\x00"+string(env), "\x00TEST_LINEAGE="+dir+"\x00") {
			pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// sockets dials that many WebSockets.
func sockets(t *testing.T, addr, path string, n int) (all []*testnet.WebSocket) {
	t.Helper()
	for range n {
		w, err := testnet.DialWebSocket(addr, path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		w.SetDeadline(time.Now().Add(90 * time.Second))
		all = append(all, w)
	}
	return all
}

// speaks asks a WebSocket and returns which process has answered; 0 when it was
// closed without a word.
func speaks(t *testing.T, w *testnet.WebSocket) (pid int) {
	t.Helper()
	err := w.Send("hello")
	var text string
	if err == nil {
		text, err = w.Receive()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return 0
	}
	if _, scan := fmt.Sscanf(text, "%d hello", &pid); err != nil || scan != nil {
		t.Fatalf("answered %q, %v", text, err)
	}
	return pid
}

// ended reports whether an orphan has; nobody may be there to wait for it.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}

// TestOldKilledInTheMove: the restart goes on. What the new generation has said
// that it serves it serves, the rest ends with the old one.
func TestOldKilledInTheMove(t *testing.T) {
	const n = 100
	for _, save := range []int{1, 50} {
		t.Run(fmt.Sprint("save ", save), func(t *testing.T) {
			r := start(t, config(t, fmt.Sprint("TEST_SERVICE=diesinsave:", save), "FAULT_ONLY=1"))
			all := sockets(t, r.addr, "/ws", n)
			report := r.restart(client.RestartRequest{})
			if report.Outcome != client.Done || report.Drain == nil || !strings.Contains(report.Drain.Exit, "signal 9") {
				t.Errorf("%+v, drain %+v", report, report.Drain)
			}
			served := 0
			for _, w := range all {
				switch pid := speaks(t, w); pid {
				case report.To.PID:
					served++
				case 0:
				default:
					t.Errorf("process %d answered", pid)
				}
			}
			if save == 1 && served > 0 || save > 1 && (served == 0 || served == n) {
				t.Errorf("%d of %d connections go on", served, n)
			}
			if pid := r.get("/"); pid != fmt.Sprint(report.To.PID) {
				t.Errorf("process %s accepts", pid)
			}
		})
	}
}

// TestSupervisorKilledInTheMove: the move goes on between the two generations.
// The new one serves; the old one waits whether another supervisor comes, and
// leaves in order.
func TestSupervisorKilledInTheMove(t *testing.T) {
	if testing.Short() {
		t.Skip("takes twenty seconds")
	}
	const n = 100
	for _, at := range []struct{ fault, in string }{{"insave:1", "1"}, {"insave:50", "1"}, {"inreplay:50", "2"}} {
		t.Run(at.fault, func(t *testing.T) {
			t.Parallel()
			cmd, addr := supervised(t, t.TempDir(), "TEST_SERVICE=orphaned"+at.fault, "FAULT_ONLY="+at.in)
			all, stays := sockets(t, addr, "/ws", n), sockets(t, addr, "/ws?stays", 1)[0]
			old := speaks(t, stays)
			if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the supervisor ended: %v", err)
			}
			next := 0
			for _, w := range all {
				pid := old
				for late := time.Now().Add(60 * time.Second); pid == old && time.Now().Before(late); {
					pid = speaks(t, w)
				}
				if next == 0 {
					next = pid
				}
				if pid != next || pid == old || pid == 0 {
					t.Fatalf("process %d answered; %d is the old one, %d the new one", pid, old, next)
				}
			}
			if pid := speaks(t, stays); pid != old {
				t.Errorf("what stays is answered by %d, want %d", pid, old)
			}
			if _, err := stays.Receive(); err == nil || !strings.Contains(err.Error(), "1012") {
				t.Errorf("what stays was told %v", err)
			}
			stays.Close()
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for late := time.Now().Add(30 * time.Second); !ended(old); <-tick.C {
				if time.Now().After(late) {
					t.Fatal("the old generation does not leave")
				}
			}
			for _, w := range append(all, sockets(t, addr, "/ws", 1)...) {
				if pid := speaks(t, w); pid != next {
					t.Errorf("process %d answered, want %d", pid, next)
				}
			}
		})
	}
}
