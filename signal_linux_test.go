package segue

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handover"
)

// upload is a request that lasts until the client lets it end.
func upload(t testing.TB, addr string) *client {
	t.Helper()
	c := dial(t, "tcp", addr)
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil || resp.StatusCode != http.StatusContinue { // the handler reads
		t.Fatalf("the upload did not begin: %v, %v", resp, err)
	}
	return c
}

func TestSignals(t *testing.T) {
	l := spawn(t, "web", nil)
	addr := l.addr()
	l.signal(l.pid, syscall.SIGHUP)
	l.await(l.pid, "Reloaded", "reloaded")
	l.signal(l.pid, syscall.SIGQUIT)
	if text := l.await(l.pid, "Goroutines", "").text; !strings.Contains(text, "goroutine ") {
		t.Errorf("SIGQUIT said %q", text)
	}
	c := upload(t, addr)
	l.signal(l.pid, syscall.SIGTERM)
	l.await(l.pid, "PhaseChanged", "draining: SIGTERM")
	io.WriteString(c, "a")
	if _, body, err := c.receive(); err != nil || body != strconv.Itoa(l.pid) {
		t.Errorf("the request in flight got %q, %v", body, err)
	}
	if code := l.exit(); code != 0 {
		t.Errorf("it ended with status %d", code)
	}
}

func TestSecondSignalForces(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		l := spawn(t, "web", nil)
		c := upload(t, l.addr())
		l.signal(l.pid, sig)
		l.await(l.pid, "PhaseChanged", "draining")
		l.signal(l.pid, sig)
		if code := l.exit(); code != exitForced {
			t.Errorf("it ended with status %d, want %d", code, exitForced)
		}
		l.await(l.pid, "ConnectionCut", "POST /")
		c.closed(t)
	}
}

// TestFirstSignalSpares: a process that drains because its successor serves has
// not been asked to hurry by a signal that everybody of the unit gets.
func TestFirstSignalSpares(t *testing.T) {
	l := spawn(t, "web", nil)
	c := upload(t, l.addr())
	next := l.handOver(l.pid)
	l.await(l.pid, "PhaseChanged", "draining")
	for _, pid := range []int{next, l.pid} {
		l.signal(pid, syscall.SIGTERM)
		l.await(pid, "SignalReceived", "SIGTERM")
	}
	io.WriteString(c, "a")
	if _, body, err := c.receive(); err != nil || body != strconv.Itoa(l.pid) {
		t.Errorf("the request in flight got %q, %v", body, err)
	}
	c.Close()
	if code := l.exit(); code != 0 {
		t.Errorf("it ended with status %d", code)
	}
}

// TestListenAndServe takes the only socket there is, whatever its name, and says
// on standard error what happens.
func TestListenAndServe(t *testing.T) {
	path := unixPath(t)
	l := spawn(t, "listen", nil, envAddr+"=unix:"+path)
	said := fmt.Sprintf("segue[%d]: ", l.pid)
	l.await(0, "raw", said+"web: serving "+path)
	l.await(0, "raw", said+"ready")
	if body := once(t, "unix", path); body != strconv.Itoa(l.pid) {
		t.Errorf("it answered %q", body)
	}
	l.signal(l.pid, syscall.SIGTERM)
	if code := l.exit(); code != 0 {
		t.Errorf("it ended with status %d", code)
	}
	l.await(0, "raw", said+"left in")
}

func TestListenAndServeTLSBadFiles(t *testing.T) {
	err := ListenAndServeTLS("127.0.0.1:0", filepath.Join(t.TempDir(), "cert.pem"), "key.pem", nil)
	if err == nil || !strings.Contains(err.Error(), "cannot serve 127.0.0.1:0 with") {
		t.Errorf("it says %v", err)
	}
}

// TestSoloHandover: over five handovers the task never runs in two processes.
func TestSoloHandover(t *testing.T) {
	l := spawn(t, "solo", nil, envOptions+"=probation=50ms")
	l.addr()
	l.await(l.pid, "solo", "begins")
	pid := l.pid
	for range 5 {
		next := l.handOver(pid)
		l.await(next, "solo", "begins")
		l.ends(pid)
		pid = next
	}
	l.solo(6)
}

// solo checks what the tasks have said: begin and end alternate.
func (l *lineage) solo(times int) {
	l.t.Helper()
	holder, begun := 0, 0
	for _, n := range l.all() {
		switch {
		case n.kind != "solo":
		case n.text == "begins":
			if holder != 0 {
				l.t.Errorf("it began in %d while it ran in %d", n.pid, holder)
			}
			holder, begun = n.pid, begun+1
		case n.text == "ends":
			if holder != n.pid {
				l.t.Errorf("it ended in %d while it ran in %d", n.pid, holder)
			}
			holder = 0
		}
	}
	if begun != times {
		l.t.Errorf("it began %d times, want %d", begun, times)
	}
}

// TestSoloAfterKill: the lock ends with its holder, however that ends.
func TestSoloAfterKill(t *testing.T) {
	l := spawn(t, "solo", nil, envOptions+"=trial=1ms probation=2s")
	addr := l.addr()
	l.await(l.pid, "solo", "begins")
	l.signal(l.pid, syscall.SIGUSR2)
	l.await(l.pid, "HandoverStep", "handover: probation …")
	next := l.pids()[1]
	if n := l.countLines("solo", "begins"); n != 1 {
		t.Errorf("the task began %d times before its holder was gone", n)
	}
	l.signal(l.pid, syscall.SIGKILL)
	l.exit()
	l.await(next, "solo", "begins")
	if body := once(t, "tcp", addr); body != strconv.Itoa(next) {
		t.Errorf("%q answered", body)
	}
	// It is on its own, and can hand over itself.
	last := l.handOver(next)
	l.await(last, "solo", "begins")
}

// TestOldKilledBeforeSwitch: a successor whose predecessor dies serves, tried or
// not, since nobody else does.
func TestOldKilledBeforeSwitch(t *testing.T) {
	l := spawn(t, "web", nil, envOptions+"=trial=10s")
	addr := l.addr()
	l.signal(l.pid, syscall.SIGUSR2)
	l.await(l.pid, "HandoverStep", "handover: trial …")
	next := l.pids()[1]
	l.signal(l.pid, syscall.SIGKILL)
	l.await(next, "PhaseChanged", "ready")
	if body := once(t, "tcp", addr); body != strconv.Itoa(next) {
		t.Errorf("%q answers, not %d", body, next)
	}
	l.signal(next, syscall.SIGTERM)
	l.ends(next)
}

// systemd is what the service says to the notify socket.
type systemd struct {
	t  testing.TB
	ch chan handover.Notification
	ln *handover.NotifyListener
}

func newSystemd(t testing.TB) *systemd {
	t.Helper()
	ln, err := handover.ListenNotify(filepath.Join(filepath.Dir(unixPath(t)), "notify"))
	if err != nil {
		t.Fatal(err)
	}
	s := &systemd{t: t, ch: make(chan handover.Notification, 4096), ln: ln}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			n, err := ln.Receive()
			if err != nil {
				return
			}
			s.ch <- n
			if _, barrier := n.Values["BARRIER"]; barrier {
				<-time.After(250 * time.Millisecond) // it is busy, and a watchdog is due
			}
			n.Processed()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return s
}

// await returns the next notification with key; what comes before must be from
// one of the processes that may speak.
func (s *systemd) await(key string, from ...int) handover.Notification {
	s.t.Helper()
	for end := time.Now().Add(patience); ; { // pings come for ever
		n := receive(s.t, "a notification with "+key, s.ch)
		if time.Now().After(end) {
			s.t.Fatalf("no notification with %s came", key)
		}
		ok := false
		for _, pid := range from {
			ok = ok || pid == n.PID
		}
		if !ok {
			s.t.Errorf("process %d said %v; only %v may", n.PID, n.Values, from)
		}
		if _, has := n.Values[key]; has {
			return n
		}
	}
}

// TestSystemd: socket activation, readiness, watchdog, reload, handover, stop.
func TestSystemd(t *testing.T) {
	notify := newSystemd(t)
	ln := listenTCP(t)
	f, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	// The environment must name the process itself, which systemd's fork can do.
	l := spawn(t, "web", func(c *exec.Cmd) {
		self := c.Path
		c.Path, c.Args = "/bin/sh", []string{"sh", "-c", `LISTEN_PID=$$ exec "$0"`, self}
		c.ExtraFiles = append(c.ExtraFiles, f)
	}, "LISTEN_FDS=1", "LISTEN_FDNAMES=web", "NOTIFY_SOCKET="+notify.ln.Path(), "WATCHDOG_USEC=200000", envAddr+"=127.0.0.1:1")
	f.Close()
	ln.Close()

	if n := notify.await("READY", l.pid); n.Values["READY"] != "1" {
		t.Errorf("it said %v", n.Values)
	}
	if body := once(t, "tcp", addr); body != strconv.Itoa(l.pid) {
		t.Errorf("%q answered on the socket that was passed", body)
	}
	notify.await("WATCHDOG", l.pid)
	notify.await("WATCHDOG", l.pid)

	l.signal(l.pid, syscall.SIGHUP)
	if n := notify.await("RELOADING", l.pid); n.Values["MONOTONIC_USEC"] == "" {
		t.Errorf("it said %v", n.Values)
	}
	notify.await("READY", l.pid)

	// A handover that fails ends the reload, and changes nothing.
	l.next("exit")
	l.signal(l.pid, syscall.SIGUSR2)
	notify.await("RELOADING", l.pid)
	if n := notify.await("READY", l.pid); !strings.Contains(n.Values["STATUS"], "rolled back") {
		t.Errorf("it said %v", n.Values)
	}

	l.next("ok")
	began := time.Now()
	l.signal(l.pid, syscall.SIGUSR2)
	notify.await("RELOADING", l.pid)
	n := notify.await("MAINPID", l.pid)
	if took := time.Since(began); took < childTrial+childProbation {
		t.Errorf("MAINPID= came after %v, before the end of the probation", took)
	}
	next, _ := strconv.Atoi(n.Values["MAINPID"])
	if next == l.pid || n.Values["READY"] != "1" {
		t.Errorf("it said %v", n.Values)
	}
	notify.await("BARRIER", l.pid)
	notify.await("WATCHDOG", next)
	l.ends(l.pid)
	if body := once(t, "tcp", addr); body != strconv.Itoa(next) {
		t.Errorf("%q answered", body)
	}
	l.signal(next, syscall.SIGTERM)
	notify.await("STOPPING", next)
	l.ends(next)
}
