package segue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/internal/testnet"
)

func init() { children["live"] = childLive }

// childLive serves WebSockets that may move, on two servers, beside requests. In a
// generation whose plan is "die in replay N" the Nth connection that comes over is
// the end of the process; "stop in replay N" only has it stand still. With "die in
// save N" it is the first generation that ends, when it is asked the Nth time what
// goes with a WebSocket.
func childLive(_ context.Context, app *App) error {
	last, replays, end := int64(0), new(atomic.Int64), syscall.SIGKILL
	if app.Generation() > 1 {
		data, err := os.ReadFile(os.Getenv(envPlan))
		if err != nil {
			return err
		}
		if n, _ := fmt.Sscanf(string(data), "stop in replay %d", &last); n == 1 {
			end = syscall.SIGSTOP
		} else {
			fmt.Sscanf(string(data), "die in replay %d", &last)
		}
	}
	saves := new(atomic.Int64)
	save := func() []byte {
		var fatal int64
		data, _ := os.ReadFile(os.Getenv(envPlan))
		if n, _ := fmt.Sscanf(string(data), "die in save %d", &fatal); n == 1 && app.Generation() <= 1 && saves.Add(1) == fatal {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", sayPID)
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		if _, moved := conns.Resumed(r.Context()); moved && last > 0 {
			switch n := replays.Add(1); {
			case n == last:
				syscall.Kill(os.Getpid(), end)
				fallthrough
			case n > last:
				select {} // the end comes at once, and nobody gets by before it
			}
		}
		if r.URL.RawQuery == "movable" {
			conns.Movable(r.Context())
			conns.Save(r.Context(), save)
		}
		c, err := testnet.UpgradeWebSocket(w)
		if err != nil {
			return
		}
		defer c.Close()
		for text, err := c.Receive(); err == nil; text, err = c.Receive() {
			if c.Send(strconv.Itoa(os.Getpid())+" "+text) != nil {
				return
			}
		}
	})
	app.HTTP("web", os.Getenv(envAddr), mux)
	app.HTTP("admin", "127.0.0.1:0", mux)
	return nil
}

// socket is a WebSocket of a test.
type socket struct {
	*testnet.WebSocket
	sent int
}

func upgrade(t testing.TB, addr, path string) *socket {
	t.Helper()
	c, err := testnet.DialWebSocket(addr, path)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(2 * patience))
	t.Cleanup(func() { c.Close() })
	return &socket{WebSocket: c}
}

// ask sends a message and returns which process has answered it.
func (s *socket) ask() (pid int, err error) {
	s.sent++
	if err := s.Send(strconv.Itoa(s.sent)); err != nil {
		return 0, err
	}
	text, err := s.Receive()
	if err != nil {
		return 0, err
	}
	var n int
	if _, err := fmt.Sscanf(text, "%d %d", &pid, &n); err != nil || n != s.sent {
		return 0, fmt.Errorf("message %d was answered %q", s.sent, text)
	}
	return pid, nil
}

// crowd is clients of all kinds, on both servers of the service "live".
type crowd struct {
	t       *testing.T
	sockets []*socket
	idle    []*client
	stays   *socket // is not declared movable
	busy    *client // in the middle of a request
}

func gather(t *testing.T, l *lineage, n int) *crowd {
	t.Helper()
	web := l.addr()
	admin := strings.Fields(l.await(l.pid, "Listening", "admin: serving ").text)[2]
	c := &crowd{t: t, stays: upgrade(t, web, "/ws"), busy: dial(t, "tcp", web)}
	io.WriteString(c.busy, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na")
	for i := range n {
		addr := []string{web, admin}[i%2]
		c.sockets = append(c.sockets, upgrade(t, addr, "/ws?movable"))
		c.idle = append(c.idle, dial(t, "tcp", addr))
	}
	c.by(l.pid)
	return c
}

// all reports whether process pid answers everybody. Who asks may put off its move.
func (c *crowd) all(pid int) bool {
	for _, s := range c.sockets {
		if got, err := s.ask(); err == nil && got != pid {
			return false
		}
	}
	for _, k := range c.idle {
		k.send("/")
		if _, body, err := k.receive(); err == nil && body != strconv.Itoa(pid) {
			return false
		}
	}
	return true
}

// by has everybody answered by process pid, the one that stays too, and returns
// how many connections were closed instead, without a word.
func (c *crowd) by(pid int) (closed int) {
	c.t.Helper()
	silent := func(err error) bool {
		return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	}
	left := c.sockets[:0]
	for _, s := range append(c.sockets, c.stays) {
		got, err := s.ask()
		switch {
		case silent(err) && s != c.stays:
			closed++
			continue
		case err != nil || got != pid:
			c.t.Errorf("a WebSocket was answered by %d, %v; want %d", got, err, pid)
		}
		if s != c.stays {
			left = append(left, s)
		}
	}
	c.sockets = left
	idle := c.idle[:0]
	for _, k := range c.idle {
		k.send("/")
		resp, body, err := k.receive()
		switch {
		case silent(err) || errors.Is(err, io.ErrUnexpectedEOF):
			closed++
			continue
		case err != nil || resp.Close || body != strconv.Itoa(pid):
			c.t.Errorf("a request was answered %q, %v; want %d", body, err, pid)
		}
		idle = append(idle, k)
	}
	c.idle = idle
	return closed
}

// TestSuccessorKilledInTheMove: whoever had not gone by then goes on as if nothing
// had happened, whatever kind of connection, and nobody is told anything. The next
// successor gets them.
func TestSuccessorKilledInTheMove(t *testing.T) {
	for _, replay := range []int{1, 20, 59} {
		t.Run(fmt.Sprint("replay ", replay), func(t *testing.T) {
			l := spawn(t, "live", nil)
			c := gather(t, l, 60)
			l.next(fmt.Sprint("die in replay ", replay))
			l.signal(l.pid, syscall.SIGUSR2)
			text := l.await(l.pid, "HandoverEnded", "").text
			if !strings.Contains(text, "rolled back: the new generation was ended by signal 9") {
				t.Errorf("it ended with %q", text)
			}
			l.await(l.pid, "HandoverStep", "handover: move …")
			l.await(l.pid, "PhaseChanged", "ready")
			gone := l.gone()
			if closed := c.by(l.pid); closed != gone {
				t.Errorf("%d connections were closed, %d had gone", closed, gone)
			}
			if gone == 0 && strings.Contains(text, "lost") {
				t.Errorf("nothing was lost, and it says %s", text)
			}
			if body := once(t, "tcp", l.addr()); body != strconv.Itoa(l.pid) {
				t.Errorf("process %s accepts", body)
			}
			if n := l.countLines("PhaseChanged", "draining"); n > 0 {
				t.Error("it has begun to leave")
			}

			l.next("ok")
			l.signal(l.pid, syscall.SIGUSR2)
			ended := l.await(l.pid, "HandoverEnded", "done").text
			var next int
			fmt.Sscanf(ended, "handover: done, process %d serves", &next)
			stays := c.stays
			if _, err := stays.Receive(); err == nil || !strings.Contains(err.Error(), "1012") {
				t.Errorf("who cannot move was told %v", err)
			}
			stays.Close()
			c.stays = upgrade(t, l.addr(), "/ws")
			until(t, "those that were busy have moved too", func() bool { return c.all(next) })
			if closed := c.by(next); closed > 0 {
				t.Errorf("%d connections were closed in the second move", closed)
			}
			io.WriteString(c.busy, "b")
			if _, body, err := c.busy.receive(); err != nil || body != strconv.Itoa(l.pid) {
				t.Errorf("the request in flight was answered %q, %v", body, err)
			}
			c.busy.answeredBy(t, next)
			l.ends(l.pid)
		})
	}
}

// TestOldKilledInTheMove: what the successor has said that it serves goes on there,
// the rest ends with its process. Whoever is connected is answered.
func TestOldKilledInTheMove(t *testing.T) {
	const each = 60 // WebSockets, and idle connections
	for _, at := range []struct {
		name, plan  string
		least, most int // connections that go on
	}{
		{"before anything was sent", "die in save 1", 0, each},
		{"in the middle", "die in save 30", 1, 2*each - 1},
		{"at its end", "ok", 2 * each, 2 * each},
	} {
		t.Run(at.name, func(t *testing.T) {
			l := spawn(t, "live", nil)
			c := gather(t, l, each)
			l.next(at.plan)
			l.signal(l.pid, syscall.SIGUSR2)
			if at.plan == "ok" {
				l.await(l.pid, "ConnectionsMoved", fmt.Sprint(2*each, " connections moved"))
				l.signal(l.pid, syscall.SIGKILL)
			}
			l.ends(l.pid)
			next := 0
			for _, pid := range l.pids() {
				if pid != l.pid {
					next = pid
				}
			}
			if body := once(t, "tcp", l.addr()); body != strconv.Itoa(next) {
				t.Errorf("process %s accepts, want %d", body, next)
			}
			c.stays.Receive() // its end
			c.stays.Close()
			c.stays = upgrade(t, l.addr(), "/ws")
			sockets := len(c.sockets)
			left := 2*each - c.by(next)
			if left < at.least || left > at.most {
				t.Errorf("%d connections go on, want %d to %d", left, at.least, at.most)
			}
			if at.plan == "die in save 1" && len(c.sockets) > 0 {
				t.Errorf("%d of %d WebSockets go on, and none was sent", len(c.sockets), sockets)
			}
			if left > 0 {
				l.await(next, "ConnectionsMoved", fmt.Sprintf("took over %d connection", left))
			}
			c.busy.closed(t)
		})
	}
}

// TestSuccessorDeafInTheMove: one that stands still has passed every check before,
// and would take no new client either.
func TestSuccessorDeafInTheMove(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	l := spawn(t, "live", nil)
	c := gather(t, l, 10)
	l.next("stop in replay 1")
	l.signal(l.pid, syscall.SIGUSR2)
	text := l.await(l.pid, "HandoverEnded", "").text
	if !strings.Contains(text, "rolled back: ") || !strings.Contains(text, "the new generation does not answer any more") {
		t.Errorf("it ended with %q", text)
	}
	if closed, gone := c.by(l.pid), l.gone(); closed != gone { // those that need no replay can be first
		t.Errorf("%d connections were closed, %d had gone", closed, gone)
	}
}

// gone is how many connections the first process says have gone on.
func (l *lineage) gone() (n int) {
	for _, e := range l.all() { // the last one is of the end of MOVE
		if e.pid == l.pid && e.kind == "ConnectionsMoved" {
			fmt.Sscanf(e.text, "%d ", &n)
		}
	}
	return n
}
