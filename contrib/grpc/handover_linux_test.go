package grpcsegue

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	pb "google.golang.org/grpc/interop/grpc_testing"
)

// TestHandover: three handovers under unary calls and server streams that last
// longer than a handover. Nothing fails, no stream has a gap, and every process
// has served.
func TestHandover(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envService+"=127.0.0.1:0",
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

	over := make(chan struct{})
	var clients sync.WaitGroup
	var mu sync.Mutex
	unary, streams := map[string]int{}, map[string]int{}
	load := func(call func(pb.TestServiceClient) (string, error), count map[string]int) {
		c := newClient(t, addr)
		clients.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				pid, err := call(c)
				if err != nil {
					t.Errorf("lost: %v", err)
					return
				}
				mu.Lock()
				count[pid]++
				mu.Unlock()
			}
		})
	}
	for range 3 {
		load(func(c pb.TestServiceClient) (string, error) {
			resp, err := c.UnaryCall(budget(t), &pb.SimpleRequest{})
			return string(resp.GetPayload().GetBody()), err
		}, unary)
	}
	const messages, pace = 100, 10 * time.Millisecond // a second, when a handover takes a third of one
	ask := &pb.StreamingOutputCallRequest{}
	for range messages {
		ask.ResponseParameters = append(ask.ResponseParameters, &pb.ResponseParameters{IntervalUs: int32(pace.Microseconds())})
	}
	for range 3 {
		load(func(c pb.TestServiceClient) (string, error) {
			stream, err := c.StreamingOutputCall(budget(t), ask)
			if err != nil {
				return "", err
			}
			from := ""
			for n := 0; ; n++ {
				m, err := stream.Recv()
				if err == io.EOF && n == messages {
					return from, nil
				}
				if err != nil {
					return "", fmt.Errorf("stream, after %d of %d messages: %w", n, messages, err)
				}
				if pid := string(m.Payload.Body); from == "" {
					from = pid
				} else if pid != from {
					return "", fmt.Errorf("stream began in process %s and went on in %s", from, pid)
				}
			}
		}, streams)
	}
	served := func(count map[string]int, pid int) {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			mu.Lock()
			n := count[fmt.Sprint(pid)]
			mu.Unlock()
			if n > 0 {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("process %d never served", pid)
			}
		}
	}
	served(unary, pids[0])
	handovers := 10
	if os.Getenv("SEGUE_SOAK") != "" {
		handovers = 100
	}
	for range handovers {
		old := pids[len(pids)-1]
		syscall.Kill(old, syscall.SIGUSR2)
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
		served(unary, next)
		served(streams, next)
	}
	close(over)
	clients.Wait()
	last := pids[len(pids)-1]
	syscall.Kill(last, syscall.SIGTERM)
	await(last, "PhaseChanged", "stopped")
	t.Logf("unary %v, streams %v", unary, streams)
}
