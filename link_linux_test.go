package segue

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/handover"
)

// overseer is a supervisor at the other end of the control wire.
type overseer struct {
	t     testing.TB
	path  string
	ln    *handover.ControlListener
	links chan *handover.Link
	said  chan handover.Request // what the generation has said
	over  chan struct{}
}

func oversee(t testing.TB) *overseer {
	t.Helper()
	return overseeAt(t, filepath.Join(filepath.Dir(unixPath(t)), "control"))
}

func overseeAt(t testing.TB, path string) *overseer {
	t.Helper()
	ln, err := handover.ListenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	o := &overseer{t: t, path: path, ln: ln, links: make(chan *handover.Link, 16), said: make(chan handover.Request, 64), over: make(chan struct{})}
	go func() {
		defer close(o.over)
		for {
			p, err := ln.Accept()
			if err != nil {
				return
			}
			o.links <- handover.NewLink(p, func(_ context.Context, r handover.Request) (handover.Fields, error) {
				r.Close()
				o.said <- r
				return nil, nil
			})
		}
	}()
	t.Cleanup(o.die)
	return o
}

// die ends the supervisor, as far as a generation can tell.
func (o *overseer) die() {
	o.ln.Close()
	<-o.over
	for {
		select {
		case l := <-o.links:
			l.Close()
		default:
			return
		}
	}
}

// link is the next generation that dials in. It stays with the overseer.
func (o *overseer) link() *handover.Link {
	o.t.Helper()
	l := receive(o.t, "a generation dials in", o.links)
	o.t.Cleanup(func() { l.Close() })
	return l
}

// hears waits for a verb.
func (o *overseer) hears(v handover.Verb) handover.Request {
	o.t.Helper()
	for {
		if r := receive(o.t, "the generation says "+string(v), o.said); r.Verb == v {
			return r
		}
	}
}

func say(t testing.TB, l *handover.Link, v handover.Verb, f handover.Fields, files ...*os.File) {
	t.Helper()
	if _, err := l.Call(t.Context(), v, f, files...); err != nil {
		t.Fatalf("%s: %v", v, err)
	}
}

func refused(t testing.TB, l *handover.Link, v handover.Verb, f handover.Fields, says string) {
	t.Helper()
	if _, err := l.Call(t.Context(), v, f); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v; want a refusal that says %q", v, err, says)
	}
}

// supervised runs a service under o.
func (o *overseer) supervised(opts Options, setup func(context.Context, *App) error) *running {
	o.t.Helper()
	return beginWith(o.t, opts, handover.Inheritance{Control: o.path, Generation: 3}, setup)
}

// waits checks that a connection to addr is not served, though it is not refused.
func waits(t testing.TB, addr string) *client {
	t.Helper()
	c := dial(t, "tcp", addr)
	if err := c.send("/"); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.in.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a shut gate let somebody in: %v", err)
	}
	c.SetReadDeadline(time.Now().Add(patience))
	return c
}

func (c *client) served(t testing.TB) {
	t.Helper()
	if _, body, err := c.receive(); err != nil || body != "hello" {
		t.Errorf("it got %q, %v", body, err)
	}
}

// TestSupervised goes through the life of a generation under a supervisor.
func TestSupervised(t *testing.T) {
	o := oversee(t)
	var ill, reloads atomic.Int32
	s := o.supervised(Options{Name: "shop"}, func(_ context.Context, app *App) error {
		app.HTTP("web", "127.0.0.1:0", http.HandlerFunc(hello))
		app.Check("db", func(context.Context) error {
			if ill.Load() != 0 {
				return errors.New("away")
			}
			return nil
		})
		app.Reload("file", func(context.Context) error { reloads.Add(1); return nil })
		return nil
	})
	l := o.link()
	h := o.hears(handover.Hello).Fields
	if h["NAME"] != "shop" || h["GENERATION"] != "3" || h["PID"] == "" {
		t.Errorf("it says that it is %v", h)
	}
	o.hears(handover.Ready)
	if s.app.Generation() != 3 || s.app.Phase() != Paused {
		t.Errorf("generation %d is %v", s.app.Generation(), s.app.Phase())
	}
	addr := s.addr(t, "web")
	early := waits(t, addr)

	// Trial: only those who are passed along get in.
	say(t, l, handover.Trial, nil)
	say(t, l, handover.Check, nil)
	ours, theirs := net.Conn(nil), make(chan net.Conn, 1)
	probes := listenTCP(t)
	go func() { c, _ := probes.Accept(); theirs <- c }()
	ours, err := net.Dial("tcp", probes.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	end := <-theirs
	f, err := end.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	end.Close()
	say(t, l, handover.Probe, handover.Fields{"SOCKET": "web"}, f)
	probe := dialOver(ours)
	if _, body := probe.get(t, "/"); body != "hello" {
		t.Errorf("the probe got %q", body)
	}
	ours.Close()
	if _, err := l.Call(t.Context(), handover.Probe, handover.Fields{"SOCKET": "admin"}, f); err == nil || !strings.Contains(err.Error(), `no server is called "admin"`) {
		t.Errorf("a probe of nobody: %v", err)
	}
	if _, err := l.Call(t.Context(), handover.Probe, handover.Fields{"SOCKET": "web"}, f, f); err == nil {
		t.Error("a probe with two connections was taken")
	}
	f.Close()
	refused(t, l, handover.Probe, handover.Fields{"SOCKET": "web"}, "exactly one is expected")

	say(t, l, handover.Open, nil)
	early.served(t)
	refused(t, l, handover.Trial, nil, "while the service is ready")
	ill.Store(1)
	refused(t, l, handover.Check, nil, `check "db": away`)
	ill.Store(0)

	say(t, l, handover.Pause, nil)
	say(t, l, handover.Pause, nil) // what is so already is no error
	late := waits(t, addr)
	early.send("/")
	early.served(t) // what was accepted goes on
	say(t, l, handover.Resume, nil)
	late.served(t)

	say(t, l, handover.Reload, nil)
	if reloads.Load() != 1 {
		t.Error("RELOAD was answered before the reload")
	}
	refused(t, l, "DANCE", nil, "cannot do DANCE")
	refused(t, l, handover.Drain, handover.Fields{"BUDGET": "soon"}, `cannot leave within "soon"`)
	early.Close()
	late.Close()

	say(t, l, handover.Drain, handover.Fields{"BUDGET": "3s"})
	var report Report
	if err := json.Unmarshal([]byte(o.hears(handover.Account).Fields["REPORT"]), &report); err != nil {
		t.Fatal(err)
	}
	if !report.Successor || report.Service != "shop" || report.Generation != 3 {
		t.Errorf("%+v", report)
	}
	own, err := s.ended(t)
	if err != nil || own.Reason != report.Reason || stepOf(own, "drain").Budget != 3*time.Second {
		t.Errorf("%v, %+v", err, own)
	}
}

// TestDrainBudgetIsTheSupervisors: it counts, whatever the service's own is.
func TestDrainBudgetIsTheSupervisors(t *testing.T) {
	for _, v := range []handover.Verb{handover.Drain, handover.Stop} {
		o := oversee(t)
		h := newHolder(t)
		s := o.supervised(Options{DrainTimeout: time.Hour}, web(h))
		l := o.link()
		o.hears(handover.Ready)
		say(t, l, handover.Open, nil)
		c := dial(t, "tcp", s.addr(t, "web"))
		c.send("/slow")
		receive(t, "the request is in flight", h.entered)
		say(t, l, v, handover.Fields{"BUDGET": "300ms"})
		refused(t, l, handover.Open, nil, "cannot open while the service is draining")
		report, err := s.ended(t)
		if err != nil || len(report.Cut) != 1 || report.Successor != (v == handover.Drain) {
			t.Errorf("%s: %v, %+v", v, err, report)
		}
	}
}

// TestStopBeforeOpen: one that never served has nobody to refuse.
func TestStopBeforeOpen(t *testing.T) {
	o := oversee(t)
	s := o.supervised(Options{LameDuck: time.Hour}, web(http.HandlerFunc(hello)))
	l := o.link()
	o.hears(handover.Ready)
	waiting := waits(t, s.addr(t, "web"))
	say(t, l, handover.Stop, nil)
	if _, err := s.ended(t); err != nil {
		t.Error(err)
	}
	if _, _, err := waiting.receive(); err == nil {
		t.Error("a generation that was never let serve has answered")
	}
}

// TestSupervisorDiesBeforeOpen: nobody is left who could let it serve.
func TestSupervisorDiesBeforeOpen(t *testing.T) {
	o := oversee(t)
	s := o.supervised(Options{}, web(http.HandlerFunc(hello)))
	l := o.link()
	o.hears(handover.Ready)
	o.die()
	l.Close()
	report, err := s.ended(t)
	if err != nil || !strings.Contains(report.Reason, "the supervisor went away before") {
		t.Errorf("%v, reason %q", err, report.Reason)
	}
}

// TestSupervisorIsReplaced: the service serves on, and obeys the next one.
func TestSupervisorIsReplaced(t *testing.T) {
	o := oversee(t)
	s := o.supervised(Options{}, web(http.HandlerFunc(hello)))
	l := o.link()
	o.hears(handover.Ready)
	say(t, l, handover.Open, nil)
	for range 2 {
		o.die()
		l.Close()
		awaitEvent(t, s.record, func(e Problem) bool { return strings.Contains(e.Err.Error(), "looks for a new one") })
		if body := once(t, "tcp", s.addr(t, "web")); body != "hello" {
			t.Errorf("without a supervisor it answered %q", body)
		}
		o = overseeAt(t, o.path)
		l = o.link()
		o.hears(handover.Hello)
		o.hears(handover.Ready)
	}
	say(t, l, handover.Pause, nil)
	say(t, l, handover.Resume, nil)
	say(t, l, handover.Stop, nil)
	if _, err := s.ended(t); err != nil {
		t.Error(err)
	}
}

func TestNoSupervisorThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	s := beginWith(t, Options{}, handover.Inheritance{Control: path}, web(nil))
	if err := receive(t, "Run returns", s.end); err == nil || !strings.Contains(err.Error(), "cannot reach the supervisor at "+path) {
		t.Errorf("Run returned %v", err)
	}
}

// TestProbeWhileStarting, when there is nothing yet to probe.
func TestProbeWhileStarting(t *testing.T) {
	o := oversee(t)
	letGo := make(chan struct{})
	s := o.supervised(Options{}, func(_ context.Context, app *App) error {
		<-letGo
		app.HTTP("web", "127.0.0.1:0", http.HandlerFunc(hello))
		return nil
	})
	l := o.link()
	for _, v := range []handover.Verb{handover.Probe, handover.Check, handover.Trial, handover.Open, handover.Pause, handover.Reload} {
		refused(t, l, v, handover.Fields{"SOCKET": "web"}, "the service is starting")
	}
	close(letGo)
	o.hears(handover.Ready)
	say(t, l, handover.Stop, nil)
	s.ended(t)
}

// TestHugeReport: what does not fit into a message is left out, not all of it.
func TestHugeReport(t *testing.T) {
	o := oversee(t)
	s := o.supervised(Options{}, web(http.HandlerFunc(hello)))
	o.link()
	o.hears(handover.Ready)
	r := Report{Service: "shop", InFlight: 5000, Stacks: strings.Repeat("\"goroutine\"\n", 1<<16)}
	for range 5000 {
		r.Cut = append(r.Cut, conns.Cut{Use: conns.Use{Method: "GET", Path: "/" + strings.Repeat("\"", 500)}})
		r.Steps = append(r.Steps, Step{Name: "cleanup", Error: strings.Repeat("\n", 500)})
	}
	var wire *link
	s.m.do(func() error { wire = s.m.link; return nil })
	if err := wire.report(r); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal([]byte(o.hears(handover.Account).Fields["REPORT"]), &got); err != nil || got.InFlight != 5000 || len(got.Cut) == 0 || len(got.Cut)+got.CutMore != 5000 || len(got.Steps) == 0 {
		t.Errorf("%v, %+v", err, got)
	}
}

// TestBudgetHasRoomForTheLameDuck: the supervisor counts from STOP, so both fit
// into what it gives.
func TestBudgetHasRoomForTheLameDuck(t *testing.T) {
	o := oversee(t)
	s := o.supervised(Options{LameDuck: 200 * time.Millisecond}, web(http.HandlerFunc(hello)))
	l := o.link()
	o.hears(handover.Ready)
	say(t, l, handover.Open, nil)
	say(t, l, handover.Stop, handover.Fields{"BUDGET": "3s"})
	o.hears(handover.Account)
	report, err := s.ended(t)
	if err != nil || stepOf(report, "lame duck").Budget != 200*time.Millisecond || stepOf(report, "drain").Budget != 2800*time.Millisecond {
		t.Errorf("%v, %+v", err, report)
	}
}
