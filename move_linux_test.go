package segue

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/handover"
)

// answeredBy waits until a keep-alive connection is answered by process pid, and
// checks that it is never told to go, nor closed.
func (c *client) answeredBy(t testing.TB, pid int) {
	t.Helper()
	until(t, fmt.Sprintf("process %d answers on a connection that was there before", pid), func() bool {
		resp, body := c.get(t, "/")
		if resp.Close || resp.StatusCode != 200 {
			t.Fatalf("process %s answered %d, close=%v", body, resp.StatusCode, resp.Close)
		}
		return body == strconv.Itoa(pid)
	})
}

// TestConnectionsMove: a keep-alive connection outlives one process after the
// other, and one that has not asked anything yet does, too.
func TestConnectionsMove(t *testing.T) {
	l := spawn(t, "web", nil)
	c, silent := dial(t, "tcp", l.addr()), dial(t, "tcp", l.addr())
	pid := l.pid
	c.answeredBy(t, pid)
	for range 3 {
		next := l.handOver(pid)
		c.answeredBy(t, next)
		l.await(pid, "ConnectionsMoved", "moved 2 connections (2 http1) in ")
		l.await(next, "ConnectionsMoved", "took over 2 connections")
		l.ends(pid)
		pid = next
	}
	silent.answeredBy(t, pid)
	if code := l.exit(); code != 0 {
		t.Errorf("the first process ended with status %d", code)
	}
}

// TestBusyConnectionMoves when its request has been answered where it began.
func TestBusyConnectionMoves(t *testing.T) {
	l := spawn(t, "web", nil)
	c := dial(t, "tcp", l.addr())
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na")
	other := dial(t, "tcp", l.addr())
	other.answeredBy(t, l.pid)
	next := l.handOver(l.pid)
	other.answeredBy(t, next)
	if gone(l.pid) {
		t.Error("the old process left with a request in flight")
	}
	io.WriteString(c, "b")
	if resp, body, err := c.receive(); err != nil || body != strconv.Itoa(l.pid) || resp.Close {
		t.Errorf("the request in flight was answered %q, %+v, %v", body, resp, err)
	}
	c.answeredBy(t, next)
	l.ends(l.pid)
}

// TestServersMoveInTurn: a long request to one of them leaves the other its share
// of the budget.
func TestServersMoveInTurn(t *testing.T) {
	l := spawn(t, "two", nil, envOptions+"=drain=4s")
	l.await(l.pid, "PhaseChanged", "ready")
	addr := func(server string) string {
		return strings.Fields(l.await(l.pid, "Listening", server+": serving ").text)[2]
	}
	busy, web, admin := dial(t, "tcp", addr("web")), dial(t, "tcp", addr("web")), dial(t, "tcp", addr("admin"))
	io.WriteString(busy, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na")
	web.answeredBy(t, l.pid)
	admin.answeredBy(t, l.pid)
	next := l.handOver(l.pid)
	web.answeredBy(t, next)
	admin.answeredBy(t, next)
	if gone(l.pid) {
		t.Error("the old process left with a request in flight")
	}
	io.WriteString(busy, "b")
	if _, body, err := busy.receive(); err != nil || body != strconv.Itoa(l.pid) {
		t.Errorf("the request in flight was answered %q, %v", body, err)
	}
	busy.Close()
	l.ends(l.pid)
}

// TestConnectionsMoveBack when a successor is given up that lives.
func TestConnectionsMoveBack(t *testing.T) {
	l := spawn(t, "web", nil, envOptions+"=trial=1ms probation=10s")
	addr := l.addr()
	l.next("sick when told")
	old := dial(t, "tcp", addr)
	old.answeredBy(t, l.pid)
	l.signal(l.pid, syscall.SIGUSR2)
	l.await(l.pid, "HandoverStep", "handover: probation …")
	next := l.pids()[1]
	c := dial(t, "tcp", addr)
	c.answeredBy(t, next)
	l.next("sick")
	l.await(l.pid, "HandoverEnded", "rolled back")
	c.answeredBy(t, l.pid)
	old.answeredBy(t, l.pid)
	l.ends(next)
	l.await(l.pid, "ConnectionsMoved", "took over 1 connection")
	c.answeredBy(t, l.pid)
}

// TestSuccessorLeavesDuringTheMove: it does not wait for the old process, whose
// request in flight goes on.
func TestSuccessorLeavesDuringTheMove(t *testing.T) {
	l := spawn(t, "web", nil)
	c, idle := dial(t, "tcp", l.addr()), dial(t, "tcp", l.addr())
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na")
	idle.answeredBy(t, l.pid)
	next := l.handOver(l.pid)
	idle.answeredBy(t, next)
	l.signal(next, syscall.SIGTERM)
	l.await(next, "end", "<nil>")
	if gone(l.pid) {
		t.Error("the old process left with a request in flight")
	}
	io.WriteString(c, "b")
	if _, body, err := c.receive(); err != nil || body != strconv.Itoa(l.pid) {
		t.Errorf("the request in flight was answered %q, %v", body, err)
	}
	c.Close()
	l.ends(l.pid)
}

// TestSuccessorKilledDuringTheMove: what it has not taken is drained.
func TestSuccessorKilledDuringTheMove(t *testing.T) {
	l := spawn(t, "web", nil)
	c := dial(t, "tcp", l.addr())
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na")
	next := l.handOver(l.pid)
	l.await(l.pid, "PhaseChanged", "draining")
	l.signal(next, syscall.SIGKILL)
	l.ends(next)
	io.WriteString(c, "b")
	if _, body, err := c.receive(); err != nil || body != strconv.Itoa(l.pid) {
		t.Errorf("the request in flight was answered %q, %v", body, err)
	}
	if err := c.send("/"); err != nil {
		t.Fatal(err)
	}
	for resp, _, err := c.receive(); err == nil && !resp.Close; resp, _, err = c.receive() {
		c.send("/")
	}
	l.ends(l.pid)
}

// one is a service with one server, and an overseer of its own.
type one struct {
	*running
	*overseer
	l *handover.Link
}

func (o *one) addr(t testing.TB) string { return o.running.addr(t, "web") }

func single(t testing.TB, opts Options, setup func(context.Context, *App) error) *one {
	t.Helper()
	o := oversee(t)
	s := o.supervised(opts, setup)
	l := o.link()
	o.hears(handover.Ready)
	say(t, l, handover.Open, nil)
	return &one{s, o, l}
}

// pair is both ends of a way for connections.
func pair(t testing.TB) (a, b *os.File) {
	t.Helper()
	a, b, err := handover.MovePair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func here() string { return strconv.Itoa(os.Getpid()) }

// goes checks that a connection is told to go, and that the process serves it
// until then.
func (c *client) goes(t testing.TB) {
	t.Helper()
	until(t, "the goodbye", func() bool {
		resp, body := c.get(t, "/")
		if body != "hello" {
			t.Fatalf("it was answered %d %q", resp.StatusCode, body)
		}
		return resp.Close
	})
	c.closed(t)
}

// TestReceiverGone: nobody is at the other end of the way, or nobody that can be
// of use.
func TestReceiverGone(t *testing.T) {
	for name, fields := range map[string]handover.Fields{
		"gone":     {"TO": here(), "BUDGET": "20s"},
		"stranger": {"TO": "1", "BUDGET": "20s"},
		"nobody":   {"BUDGET": "20s"},
	} {
		t.Run(name, func(t *testing.T) {
			s := single(t, Options{}, web(http.HandlerFunc(hello)))
			c := dial(t, "tcp", s.addr(t))
			c.get(t, "/")
			a, b := pair(t)
			b.Close()
			say(t, s.l, handover.Drain, fields, a)
			a.Close()
			c.goes(t)
			report, err := s.ended(t)
			if err != nil || len(report.Cut)+len(report.Moved) != 0 || !report.Successor {
				t.Errorf("%v, %+v", err, report)
			}
			if problems := eventsOf[Problem](s.record); name == "nobody" && (len(problems) != 1 || !strings.Contains(problems[0].String(), `TO="" of DRAIN is not a process`)) {
				t.Errorf("problems %v", problems)
			}
		})
	}
}

// TestReceiverDeaf costs the budget, and no more.
func TestReceiverDeaf(t *testing.T) {
	s := single(t, Options{}, web(http.HandlerFunc(hello)))
	c := dial(t, "tcp", s.addr(t))
	c.get(t, "/")
	a, b := pair(t)
	began := time.Now()
	say(t, s.l, handover.Drain, handover.Fields{"TO": here(), "BUDGET": "300ms"}, a)
	report, err := s.ended(t)
	if err != nil || len(report.Cut)+len(report.Moved) != 1 {
		t.Errorf("%v, %+v", err, report)
	}
	if took := time.Since(began); took < 300*time.Millisecond || took > patience/2 {
		t.Errorf("it took %v", took)
	}
	b.Close() // with the descriptor that is still on its way
	c.closed(t)
}

// TestAdoptRefused: what is not a way for connections, and when there is none.
func TestAdoptRefused(t *testing.T) {
	h := newHolder(t)
	s := single(t, Options{}, web(h))
	from := handover.Fields{"FROM": here()}
	a, b := pair(t)
	adopt := func(says string, f handover.Fields, files ...*os.File) {
		t.Helper()
		if _, err := s.l.Call(t.Context(), handover.Adopt, f, files...); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("ADOPT %v with %d descriptors: %v; want a refusal that says %q", f, len(files), err, says)
		}
	}
	adopt("0 descriptors came with ADOPT", from)
	adopt("2 descriptors came with ADOPT", from, a, b)
	adopt(`FROM="" of ADOPT is not a process`, nil, a)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	adopt("cannot move connections over this descriptor", from, null)
	busy := dial(t, "tcp", s.addr(t))
	busy.send("/slow")
	receive(t, "the request is in flight", h.entered)
	say(t, s.l, handover.Stop, nil)
	adopt("cannot adopt connections while the service is draining", from, a)
	h.release()
	busy.receive()
	busy.Close()
	s.ended(t)
}

// stayed counts connections whose reason ends so.
func (m Move) stayed(reason string) (n int) {
	for why, k := range m.Stayed {
		if strings.HasSuffix(why, reason) {
			n += k
		}
	}
	return n
}

// TestRefusedByTheReceiver: a connection that nobody takes stays, and is told to
// go.
func TestRefusedByTheReceiver(t *testing.T) {
	h := newHolder(t)
	none := func(*one) {}
	for _, test := range []struct {
		name, reason string
		setup        func(context.Context, *App) error
		before       func(*one)
	}{
		{"no such server", `it has no server "web"`, func(_ context.Context, app *App) error {
			app.HTTP("admin", "127.0.0.1:0", http.HandlerFunc(hello))
			return nil
		}, none},
		{"another protocol", `its server "web" is not an http.Server`, func(_ context.Context, app *App) error {
			app.Serve("web", "127.0.0.1:0", newEcho())
			return nil
		}, none},
		{"it leaves", "it leaves", web(h), func(to *one) {
			busy := dial(t, "tcp", to.addr(t))
			busy.send("/slow")
			receive(t, "the request is in flight", h.entered)
			say(t, to.l, handover.Stop, nil)
			t.Cleanup(func() { busy.Close() })
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			from, to := single(t, Options{}, web(http.HandlerFunc(hello))), single(t, Options{DrainTimeout: time.Second}, test.setup)
			c := dial(t, "tcp", from.addr(t))
			c.get(t, "/")
			a, b := pair(t)
			say(t, to.l, handover.Adopt, handover.Fields{"FROM": here()}, b)
			b.Close()
			test.before(to)
			say(t, from.l, handover.Drain, handover.Fields{"TO": here(), "BUDGET": "20s"}, a)
			a.Close()
			c.goes(t)
			report, err := from.ended(t)
			if err != nil || report.stayed(test.reason) != 1 || total(report.Goodbyes) != 1 ||
				len(report.Moved)+len(report.Cut) != 0 || stepOf(report, "move").Took == 0 {
				t.Errorf("%v, %+v", err, report)
			}
			e := awaitEvent(t, from.record, func(e ConnectionsMoved) bool { return e.Move != nil })
			if e.Departed != 0 || e.Move.stayed(test.reason) != 1 {
				t.Errorf("%+v", e)
			}
			h.release()
			if test.name != "it leaves" {
				say(t, to.l, handover.Stop, nil)
			}
			to.ended(t)
		})
	}
}

// TestReasonsAreBounded: the account of a move fits into a message, whatever the
// other process says.
func TestReasonsAreBounded(t *testing.T) {
	o := oversee(t)
	s := o.supervised(Options{}, web(http.HandlerFunc(hello)))
	o.link()
	o.hears(handover.Ready)
	r := Report{Service: "shop"}
	for i := range 1000 {
		add(&r.Stayed, strconv.Itoa(i)+strings.Repeat("\n", 5000), 1)
		add(&r.Goodbyes, strings.Repeat("é", i), 1)
	}
	if total(r.Stayed) != 1000 || len(r.Stayed) > maxReasons+1 {
		t.Errorf("%d of 1000 are counted, for %d reasons", total(r.Stayed), len(r.Stayed))
	}
	r.Cut = make([]conns.Cut, 1000)
	var wire *link
	s.m.do(func() error { wire = s.m.link; return nil })
	if err := wire.report(r); err != nil {
		t.Error(err)
	}
}
