package segue

import (
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestHandoverUnderLoad: three in a row, and nobody notices. In flight over each
// of them is a request that is longer than the handover.
func TestHandoverUnderLoad(t *testing.T) {
	l := spawn(t, "web", nil)
	addr := l.addr()
	clients := drive(t, addr)
	pid := l.pid
	for range 3 {
		upload := dial(t, "tcp", addr)
		io.WriteString(upload, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na")
		next := l.handOver(pid)
		until(t, "the new process serves", func() bool { return clients.by(next) > 20 })
		if gone(pid) {
			t.Error("the old process left with a request in flight")
		}
		io.WriteString(upload, "b")
		if _, body, err := upload.receive(); err != nil || body != strconv.Itoa(pid) {
			t.Errorf("the upload got %q, %v; want it from process %d", body, err, pid)
		}
		upload.Close()
		l.ends(pid)
		pid = next
	}
	clients.none()
	if code := l.exit(); code != 0 {
		t.Errorf("the first process ended with status %d", code)
	}
	l.signal(pid, syscall.SIGTERM)
	l.await(pid, "end", "<nil>")
}

// TestHandoverIdle: nobody is connected; the old process must be gone, and must
// not take the next connection.
func TestHandoverIdle(t *testing.T) {
	l := spawn(t, "web", nil)
	addr := l.addr()
	next := l.handOver(l.pid)
	for range 20 {
		if body := once(t, "tcp", addr); body != strconv.Itoa(next) {
			t.Errorf("process %s answered, want %d", body, next)
		}
	}
	if code := l.exit(); code != 0 {
		t.Errorf("the old process ended with status %d", code)
	}
	if body := once(t, "tcp", addr); body != strconv.Itoa(next) {
		t.Errorf("process %s answered, want %d", body, next)
	}
}

// TestHandoverUnix: the path outlives the old process, a successor that failed,
// and ends with the last one.
func TestHandoverUnix(t *testing.T) {
	path := unixPath(t)
	l := spawn(t, "web", nil, envAddr+"=unix:"+path)
	l.await(l.pid, "PhaseChanged", "ready")
	for _, plan := range []string{"sick in trial", "sick in probation"} {
		l.next(plan)
		before := len(l.pids())
		l.signal(l.pid, syscall.SIGUSR2)
		until(t, plan+": rolled back", func() bool { return l.countLines("HandoverEnded", "rolled back") == before })
		l.ends(l.pids()[before])
		if body := once(t, "unix", path); body != strconv.Itoa(l.pid) {
			t.Errorf("%s: process %s answered", plan, body)
		}
	}
	l.next("ok")
	l.signal(l.pid, syscall.SIGUSR2)
	l.await(l.pid, "HandoverEnded", "done")
	next := l.pids()[3]
	l.ends(l.pid)
	if body := once(t, "unix", path); body != strconv.Itoa(next) {
		t.Errorf("process %s answered, want %d", body, next)
	}
	l.signal(next, syscall.SIGTERM)
	l.await(next, "end", "<nil>")
	l.ends(next)
	if exists(path) {
		t.Error("the socket is still there")
	}
}

func (l *lineage) countLines(kind, text string) (n int) {
	for _, line := range l.all() {
		if line.kind == kind && strings.Contains(line.text, text) {
			n++
		}
	}
	return n
}

// TestRollback: whatever the successor does wrong, and whenever: the old process
// goes on, and nothing is lost, except that a process which dies while it serves
// takes with it what is in flight in it.
func TestRollback(t *testing.T) {
	for _, test := range []struct {
		plan, step, says string
		mayLose          bool
	}{
		{"exit", "ready", "exited with status 3", false},
		{"error", "ready", "exited with status 1", false},
		{"hang", "ready", "did not become ready within", false},
		{"sick in trial", "trial", "sick", false},
		{"exit in trial", "trial", "exited with status 3", false},
		{"sick in probation", "probation", "sick", false},
		{"exit in probation", "probation", "exited with status 3", true},
	} {
		t.Run(test.plan, func(t *testing.T) {
			l := spawn(t, "web", nil, envOptions+"=start=1s probation=500ms task=500ms")
			clients := drive(t, l.addr())
			l.next(test.plan)
			l.signal(l.pid, syscall.SIGUSR2)
			ended := l.await(l.pid, "HandoverEnded", "").text
			if !strings.Contains(ended, "rolled back") || !strings.Contains(ended, test.says) {
				t.Errorf("it ended with %q, want one that says %q", ended, test.says)
			}
			if n := l.await(l.pid, "HandoverStep", "handover: "+test.step+" "); n.text == "" {
				t.Errorf("step %s did not begin", test.step)
			}
			for _, pid := range l.pids()[1:] {
				l.ends(pid)
			}
			served := clients.by(l.pid)
			if test.mayLose {
				clients.stop()
				if n := len(clients.lost); n > 6 {
					t.Errorf("%d lost: more than were in flight", n)
				}
				for _, err := range clients.lost {
					t.Logf("lost in the process that died: %v", err)
				}
				c := dial(t, "tcp", l.addr())
				c.get(t, "/")
				c.Close()
			} else {
				until(t, "the old process serves", func() bool { return clients.by(l.pid) > served+20 })
				clients.none()
			}
			// It can try again.
			l.next("ok")
			l.signal(l.pid, syscall.SIGUSR2)
			l.await(l.pid, "HandoverEnded", "done")
			if code := l.exit(); code != 0 {
				t.Errorf("it ended with status %d", code)
			}
		})
	}
}

// TestLeaveDuringHandover: both are to end, at every step, and whoever asks
// meanwhile gets an answer.
func TestLeaveDuringHandover(t *testing.T) {
	for _, test := range []struct{ plan, step string }{{"hang", "ready"}, {"ok", "trial"}, {"ok", "probation"}} {
		t.Run(test.step, func(t *testing.T) {
			l := spawn(t, "web", nil, envOptions+"=start=10s trial=10s probation=10s task=500ms")
			if test.step == "probation" {
				l = spawn(t, "web", nil, envOptions+"=trial=1ms probation=10s")
			}
			clients := drive(t, l.addr())
			l.next(test.plan)
			l.signal(l.pid, syscall.SIGUSR2)
			l.await(l.pid, "HandoverStep", "handover: "+test.step+" …")
			if test.plan == "hang" {
				l.await(0, "hangs", "")
			}
			l.signal(l.pid, syscall.SIGTERM)
			if code := l.exit(); code != 0 {
				t.Errorf("the old process ended with status %d", code)
			}
			for _, pid := range l.pids()[1:] {
				l.ends(pid)
			}
			clients.none()
		})
	}
}

// TestOperatorStopsSuccessor in its probation: the old process takes over again.
func TestOperatorStopsSuccessor(t *testing.T) {
	l := spawn(t, "web", nil, envOptions+"=trial=1ms probation=10s")
	addr := l.addr()
	l.signal(l.pid, syscall.SIGUSR2)
	l.await(l.pid, "HandoverStep", "handover: probation …")
	next := l.pids()[1]
	l.signal(next, syscall.SIGTERM)
	l.await(l.pid, "HandoverEnded", "rolled back")
	l.ends(next)
	if body := once(t, "tcp", addr); body != strconv.Itoa(l.pid) {
		t.Errorf("process %s answered", body)
	}
}

// TestHandoverRefused under supervisord, and while one is under way.
func TestHandoverRefused(t *testing.T) {
	l := spawn(t, "web", func(c *exec.Cmd) { c.Env = append(c.Env, "SUPERVISOR_ENABLED=1") })
	addr := l.addr()
	l.signal(l.pid, syscall.SIGUSR2)
	l.await(l.pid, "Problem", "cannot hand over under supervisord")
	if body := once(t, "tcp", addr); body != strconv.Itoa(l.pid) {
		t.Errorf("process %s answered", body)
	}

	l = spawn(t, "web", nil, envOptions+"=trial=10s")
	l.addr()
	l.signal(l.pid, syscall.SIGUSR2)
	l.await(l.pid, "HandoverStep", "handover: trial …")
	l.signal(l.pid, syscall.SIGUSR2)
	l.await(l.pid, "Problem", "a handover is under way")
}

func TestRefusal(t *testing.T) {
	none := func(string) string { return "" }
	if err := refusal(1, none); err == nil || !strings.Contains(err.Error(), "segue run") {
		t.Errorf("as PID 1: %v", err)
	}
	if err := refusal(2, func(k string) string { return map[string]string{"SUPERVISOR_ENABLED": "1"}[k] }); err == nil {
		t.Error("under supervisord: nothing")
	}
	if err := refusal(2, none); err != nil {
		t.Errorf("from a shell: %v", err)
	}
}
