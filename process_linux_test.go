package segue

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// line is one thing that a child process has said.
type line struct {
	pid        int
	kind, text string
}

// lineage is a service in processes of its own, from the one that the test has
// started to the last successor.
type lineage struct {
	t      testing.TB
	cmd    *exec.Cmd
	pid    int    // of the first
	plan   string // file
	exited chan struct{}

	mu    sync.Mutex
	lines []line
	more  chan struct{}
}

// spawn starts a service; it is gone, with its successors, when the test ends.
func spawn(t testing.TB, service string, change func(*exec.Cmd), env ...string) *lineage {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := &lineage{t: t, plan: filepath.Join(t.TempDir(), "plan"), exited: make(chan struct{}), more: make(chan struct{})}
	l.next("ok")
	l.cmd = exec.Command(self)
	l.cmd.Env = append(os.Environ(), envService+"="+service, envPlan+"="+l.plan, envAddr+"=127.0.0.1:0",
		"GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE")) // else a process under -race takes a second to end
	l.cmd.Env = append(l.cmd.Env, env...)
	l.cmd.Stdout, l.cmd.Stderr = w, w
	if change != nil {
		change(l.cmd)
	}
	err = l.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		t.Fatal(err)
	}
	l.pid = l.cmd.Process.Pid
	go func() {
		l.cmd.Wait()
		close(l.exited)
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer r.Close()
		for s := bufio.NewScanner(r); s.Scan(); {
			l.add(s.Text())
		}
	}()
	t.Cleanup(func() {
		for _, pid := range l.pids() {
			if !gone(pid) {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		<-l.exited
		receive(t, "every process of the lineage ends", read)
		if t.Failed() {
			for _, line := range l.all() {
				t.Logf("%d %s %s", line.pid, line.kind, line.text)
			}
		}
	})
	return l
}

func (l *lineage) add(text string) {
	n := line{kind: "raw", text: text}
	if f := strings.SplitN(text, "\t", 3); len(f) == 3 {
		if pid, err := strconv.Atoi(f[0]); err == nil {
			n.pid, n.kind = pid, strings.TrimPrefix(f[1], "segue.")
			n.text, _ = strconv.Unquote(f[2])
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, n)
	close(l.more)
	l.more = make(chan struct{})
}

func (l *lineage) all() []line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[:len(l.lines):len(l.lines)]
}

// pids is everybody who has said something.
func (l *lineage) pids() []int {
	seen := map[int]bool{l.pid: true}
	list := []int{l.pid}
	for _, n := range l.all() {
		if n.pid != 0 && !seen[n.pid] {
			seen[n.pid] = true
			list = append(list, n.pid)
		}
	}
	return list
}

// await returns the first line from the process (0: any) of that kind with that
// text in it.
func (l *lineage) await(pid int, kind, text string) line {
	l.t.Helper()
	late := time.After(patience)
	for seen := 0; ; {
		l.mu.Lock()
		lines, more := l.lines, l.more
		l.mu.Unlock()
		for ; seen < len(lines); seen++ {
			if n := lines[seen]; (pid == 0 || n.pid == pid) && n.kind == kind && strings.Contains(n.text, text) {
				return n
			}
		}
		select {
		case <-more:
		case <-late:
			l.t.Fatalf("process %d never said %s %q", pid, kind, text)
		}
	}
}

// next says what the next generation is to do.
func (l *lineage) next(plan string) {
	l.t.Helper()
	if err := os.WriteFile(l.plan, []byte(plan), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// addr is where the service is, once it is ready.
func (l *lineage) addr() string {
	l.t.Helper()
	l.await(l.pid, "PhaseChanged", "ready")
	f := strings.Fields(l.await(l.pid, "Listening", "web: serving ").text)
	return f[2]
}

func (l *lineage) signal(pid int, sig syscall.Signal) {
	l.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		l.t.Fatalf("cannot signal %d: %v", pid, err)
	}
}

// handOver has pid hand over, and returns the pid of its successor.
func (l *lineage) handOver(pid int) int {
	l.t.Helper()
	l.signal(pid, syscall.SIGUSR2)
	text := l.await(pid, "HandoverEnded", "").text
	var next int
	if _, err := fmt.Sscanf(text, "handover: done, process %d serves", &next); err != nil {
		l.t.Fatalf("the handover ended with %q", text)
	}
	return next
}

// ends waits for the end of a process.
func (l *lineage) ends(pid int) {
	l.t.Helper()
	until(l.t, fmt.Sprintf("process %d ends", pid), func() bool { return gone(pid) })
}

// exit waits for the first process and returns its status.
func (l *lineage) exit() int {
	l.t.Helper()
	receive(l.t, "the process ends", l.exited)
	return l.cmd.ProcessState.ExitCode()
}

// gone reports whether a process has ended; one that nobody has waited for is
// gone as well (proc_pid_stat(5)).
func gone(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(data), ") ")
	return strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X")
}
