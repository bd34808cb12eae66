package segue

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segue-go/segue/conns"
)

// draining waits until the service refuses, or whatever else it does first.
func (r *running) draining(t testing.TB) {
	t.Helper()
	awaitEvent(t, r.record, func(e PhaseChanged) bool { return e.To == Draining })
}

func TestInFlightFinishes(t *testing.T) {
	h := newHolder(t)
	s := begin(t, Options{}, web(h)).ready(t)
	c := dial(t, "tcp", s.addr(t, "web"))
	if err := c.send("/slow?secret=1"); err != nil {
		t.Fatal(err)
	}
	receive(t, "the request is in flight", h.entered)
	s.stop()
	s.draining(t)
	// Others are refused, clearly, as long as this one lasts.
	until(t, "new requests are refused", func() bool {
		early := dial(t, "tcp", s.addr(t, "web")) // the first one may be served still, and would stay
		defer early.Close()
		resp, _ := early.get(t, "/hello")
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	other := dial(t, "tcp", s.addr(t, "web"))
	resp, _ := other.get(t, "/hello")
	if resp.StatusCode != 503 || !resp.Close || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("a new request got %d, close=%v, Retry-After %q", resp.StatusCode, resp.Close, resp.Header.Get("Retry-After"))
	}
	other.closed(t)
	h.release()
	if resp, body, err := c.receive(); err != nil || resp.StatusCode != 200 || body != "held" {
		t.Errorf("the request in flight ended with %v, %q, %v", resp, body, err)
	}
	c.Close()
	report, err := s.ended(t)
	if err != nil || report.InFlight != 1 || report.Finished != 1 || len(report.Cut) != 0 || report.Successor || report.Forced {
		t.Errorf("%v, %+v", err, report)
	}
	if want := []Phase{Ready, Draining, Closing, Stopped}; !slices.Equal(phasesOf(s), want) {
		t.Errorf("phases %v, want %v", phasesOf(s), want)
	}
}

// TestIdleConnectionKept: one that could not be told is kept for IdleTimeout, and
// then cut and named; one that asks meanwhile gets an answer, not a reset.
func TestIdleConnectionKept(t *testing.T) {
	const idle = time.Second
	s := begin(t, Options{IdleTimeout: idle}, web(http.HandlerFunc(hello))).ready(t)
	silent, asks := dial(t, "tcp", s.addr(t, "web")), dial(t, "tcp", s.addr(t, "web"))
	silent.get(t, "/")
	asks.get(t, "/")
	began := time.Now()
	s.stop()
	s.draining(t)
	until(t, "it refuses", func() bool {
		resp, _ := asks.get(t, "/")
		if resp.Close && resp.StatusCode != 503 {
			t.Fatalf("told to go with %d, want 503", resp.StatusCode)
		}
		return resp.StatusCode == 503
	})
	asks.closed(t)
	silent.closed(t)
	if took := time.Since(began); took < idle {
		t.Errorf("an idle connection was closed after %v, before its %v", took, idle)
	}
	report, err := s.ended(t)
	if err != nil || len(report.Cut) != 1 {
		t.Fatalf("%v, %+v", err, report)
	}
	if c := report.Cut[0]; c.Reason != conns.ReasonIdle || c.Remote != silent.LocalAddr().String() {
		t.Errorf("cut %+v, want the idle connection of %v", c, silent.LocalAddr())
	}
	awaitEvent(t, s.record, func(e ConnectionCut) bool { return e.Cut.Reason == conns.ReasonIdle })
}

// TestNoPatience: budgets of none at all cut at once, and do not spin.
func TestNoPatience(t *testing.T) {
	h := newHolder(t)
	s := begin(t, Options{IdleTimeout: -1, DrainTimeout: -1, TaskTimeout: -1, CleanupTimeout: -1}, web(h)).ready(t)
	idle, busy := dial(t, "tcp", s.addr(t, "web")), dial(t, "tcp", s.addr(t, "web"))
	idle.get(t, "/hello")
	busy.send("/slow")
	receive(t, "the request is in flight", h.entered)
	if report := s.leave(t); len(report.Cut) != 2 {
		t.Errorf("cut %v", report.Cut)
	}
}

// TestLameDuck: it serves, and says goodbye, until load balancers have looked away.
func TestLameDuck(t *testing.T) {
	const duck = time.Second
	s := begin(t, Options{LameDuck: duck}, web(http.HandlerFunc(hello))).ready(t)
	known := dial(t, "tcp", s.addr(t, "web"))
	known.get(t, "/")
	s.stop()
	s.draining(t)
	if err := s.app.Readiness(t.Context()); err == nil {
		t.Error("a lame duck says that it is ready")
	}
	var resp *http.Response
	until(t, "the goodbye", func() bool { resp, _ = known.get(t, "/"); return resp.Close })
	if resp.StatusCode != 200 {
		t.Errorf("a lame duck answered %d", resp.StatusCode)
	}
	if resp, _ := dial(t, "tcp", s.addr(t, "web")).get(t, "/"); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("a lame duck answered a new connection with %d, close=%v", resp.StatusCode, resp.Close)
	}
	report, _ := s.ended(t)
	if d := stepOf(report, "lame duck"); d.Took < duck || d.Budget != duck {
		t.Errorf("the report has %+v", d)
	}
}

// TestDrainBudgetOver: what is left is cut, counted and named, and a handler
// that ignores the end of its request is shown with its stack.
func TestDrainBudgetOver(t *testing.T) {
	h := newHolder(t)
	h.deaf = true
	s := begin(t, Options{DrainTimeout: 100 * time.Millisecond, ShutdownTimeout: 100 * time.Millisecond}, web(h)).ready(t)
	c := dial(t, "tcp", s.addr(t, "web"))
	c.send("/report?token=secret")
	receive(t, "the request is in flight", h.entered)
	s.stop()
	c.closed(t)
	report, err := s.ended(t)
	if err != nil {
		t.Errorf("Run returned %v; what was cut is for the report", err)
	}
	if len(report.Cut) != 1 || report.InFlight != 1 || report.Finished != 0 {
		t.Fatalf("%+v", report)
	}
	cut := report.Cut[0]
	if cut.Method != "GET" || cut.Path != "/report" || cut.Remote != c.LocalAddr().String() || cut.Age <= 0 || cut.Reason != conns.ReasonInFlight {
		t.Errorf("cut %+v", cut)
	}
	if !strings.Contains(report.Stacks, "(*holder).ServeHTTP") {
		t.Errorf("the stack of the deaf handler is not in the report: %q", report.Stacks)
	}
	text := report.String()
	for _, want := range []string{"1 in flight, 0 finished, 1 cut", "GET /report", "handlers that did not return", "holder"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("the report tells a secret")
	}
}

// TestLeavesUnderSteadyRefusals: clients that keep coming while the service
// leaves, each of them refused, do not keep it from leaving.
func TestLeavesUnderSteadyRefusals(t *testing.T) {
	h := newHolder(t)
	s := begin(t, Options{DrainTimeout: patience}, web(h)).ready(t)
	addr := s.addr(t, "web")
	held := dial(t, "tcp", addr)
	held.send("/slow")
	receive(t, "the request is in flight", h.entered)

	over := make(chan struct{})
	var crowd sync.WaitGroup
	var refused atomic.Int32
	for range 4 {
		crowd.Go(func() {
			// The next one has come before the last one goes: at no moment is there
			// no connection.
			var last *client
			for {
				next, err := connect("tcp", addr)
				if err != nil {
					break // it has left
				}
				io.WriteString(next, "GET /hello HTTP/1.1\r\n")
				if last != nil {
					io.WriteString(last, "Host: test\r\n\r\n")
					if resp, _, err := last.receive(); err == nil && resp.StatusCode == 503 {
						refused.Add(1)
					}
					last.Close()
				}
				last = next
				select {
				case <-over:
				default:
					continue
				}
				break
			}
			if last != nil {
				last.Close()
			}
		})
	}
	s.stop()
	until(t, "the crowd is being refused", func() bool { return refused.Load() > 100 })
	h.release()
	if _, body, err := held.receive(); err != nil || body != "held" {
		t.Errorf("the request in flight ended with %q, %v", body, err)
	}
	held.Close()
	began := time.Now()
	report, err := s.ended(t)
	if took := time.Since(began); err != nil || took > 3*time.Second {
		t.Errorf("it took %v to leave after the last request had ended (%v)", took, err)
	}
	for _, c := range report.Cut {
		t.Errorf("cut %+v", c)
	}
	close(over)
	crowd.Wait()
}

// TestEveryServerLeaves: side by side, each in its own way.
func TestEveryServerLeaves(t *testing.T) {
	h := newHolder(t)
	echo := newEcho()
	s := begin(t, Options{DrainTimeout: 200 * time.Millisecond}, func(_ context.Context, app *App) error {
		app.HTTP("web", "127.0.0.1:0", h)
		app.Serve("echo", "127.0.0.1:0", echo)
		return nil
	}).ready(t)
	c, err := net.Dial("tcp", s.addr(t, "echo"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "a")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	w := dial(t, "tcp", s.addr(t, "web"))
	w.send("/slow")
	receive(t, "the request is in flight", h.entered)
	s.stop()
	report, err := s.ended(t)
	if err != nil || len(report.Cut) != 2 {
		t.Errorf("%v, %+v", err, report)
	}
	if !echo.asked {
		t.Error("Shutdown of the user's own server was not called")
	}
}

// echoServer is a server that is not net/http's. Its Shutdown waits until it
// is made to stop, and leaves its connections to the caller.
type echoServer struct {
	mu    sync.Mutex
	ln    net.Listener
	asked bool
}

func newEcho() *echoServer { return &echoServer{} }

func (e *echoServer) Serve(ln net.Listener) error {
	e.mu.Lock()
	e.ln = ln
	e.mu.Unlock()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		all.Go(func() { defer c.Close(); io.Copy(c, c) })
	}
}

func (e *echoServer) Shutdown(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = true
	e.ln.Close()
	<-ctx.Done()
	return ctx.Err()
}

// TestShutdownHangs: a server that ignores its context costs its budget, and what
// it had is named all the same.
func TestShutdownHangs(t *testing.T) {
	letGo := make(chan struct{})
	s := begin(t, Options{DrainTimeout: 50 * time.Millisecond, ShutdownTimeout: 50 * time.Millisecond}, func(_ context.Context, app *App) error {
		app.Serve("odd", "127.0.0.1:0", deafServer{newEcho(), letGo})
		return nil
	}).ready(t)
	c, err := net.Dial("tcp", s.addr(t, "odd"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "a")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	report, err := s.ended(t)
	if err == nil || !strings.Contains(err.Error(), `server "odd": its Shutdown did not return`) {
		t.Errorf("Run returned %v", err)
	}
	if len(report.Cut) != 1 || report.Cut[0].Remote != c.LocalAddr().String() {
		t.Errorf("cut %+v", report.Cut)
	}
	close(letGo)
}

type deafServer struct {
	*echoServer
	letGo chan struct{}
}

func (s deafServer) Shutdown(context.Context) error { <-s.letGo; return nil }

// TestPausedServiceRefuses: a service that was paused for its successor and is
// then told to leave for good accepts again, to refuse.
func TestPausedServiceRefuses(t *testing.T) {
	h := newHolder(t)
	s := begin(t, Options{}, web(h)).ready(t)
	held := dial(t, "tcp", s.addr(t, "web"))
	held.send("/slow")
	receive(t, "the request is in flight", h.entered)
	if err := s.m.do(s.m.pause); err != nil {
		t.Fatal(err)
	}
	queued := dial(t, "tcp", s.addr(t, "web"))
	queued.send("/hello")
	s.stop()
	if resp, _, err := queued.receive(); err != nil || resp.StatusCode != 503 {
		t.Errorf("a client in the backlog got %v, %v", resp, err)
	}
	h.release()
	held.receive()
	held.Close()
	s.ended(t)
}

// TestPauseAndResume: what comes in between waits, and is served.
func TestPauseAndResume(t *testing.T) {
	s := begin(t, Options{}, web(http.HandlerFunc(hello))).ready(t)
	known := dial(t, "tcp", s.addr(t, "web"))
	known.get(t, "/")
	for range 3 {
		if err := s.m.do(s.m.pause); err != nil {
			t.Fatal(err)
		}
		if _, body := known.get(t, "/"); body != "hello" {
			t.Error("a paused service does not serve what it had accepted")
		}
		queued := dial(t, "tcp", s.addr(t, "web"))
		queued.send("/")
		if err := s.m.do(s.m.open); err != nil {
			t.Fatal(err)
		}
		if _, body, err := queued.receive(); err != nil || body != "hello" {
			t.Errorf("a client that came while it was paused got %q, %v", body, err)
		}
	}
}

// TestContextIsTheReason: Run's context says why.
func TestContextIsTheReason(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	events := newRecord()
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{NoSignals: true, Events: events.add}, web(http.HandlerFunc(hello)))
	}()
	awaitEvent(t, events, func(e PhaseChanged) bool { return e.To == Ready })
	cancel(errors.New("the house is on fire"))
	if err := receive(t, "Run returns", done); err != nil {
		t.Error(err)
	}
	if r := awaitEvent[Reported](t, events, nil).Report; r.Reason != "context ended: the house is on fire" {
		t.Errorf("the reason is %q", r.Reason)
	}
}
