package segue

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segue-go/segue/handover"
)

func TestStartFails(t *testing.T) {
	broken := errors.New("the database is away")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		name  string
		setup func(context.Context, *App) error
		says  string
	}{
		{"setup fails", func(context.Context, *App) error { return broken }, "setup failed: the database is away"},
		{"setup panics", func(context.Context, *App) error { panic("no such key") }, "setup panicked: no such key"},
		{"check panics", func(_ context.Context, app *App) error {
			app.Check("db", func(context.Context) error { panic("nil map") })
			return nil
		}, "check panicked: nil map"},
		{"address in use", func(_ context.Context, app *App) error {
			app.HTTP("web", taken.Addr().String(), nil)
			return nil
		}, "stop what listens there"},
		{"no address", func(_ context.Context, app *App) error {
			app.HTTP("web", "8080", nil)
			return nil
		}, `write host:port, :port or unix:/path`},
		{"one name twice", func(_ context.Context, app *App) error {
			app.HTTP("web", "127.0.0.1:0", nil)
			app.HTTP("web", "127.0.0.1:0", nil)
			return nil
		}, `cannot serve "web" twice`},
		{"bad name", func(_ context.Context, app *App) error {
			app.HTTP("we b", "127.0.0.1:0", nil)
			return nil
		}, `cannot use "we b" as a socket name`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cleaned := false
			s := begin(t, Options{StartTimeout: 500 * time.Millisecond}, func(ctx context.Context, app *App) error {
				app.Cleanup("database", func(context.Context) error { cleaned = true; return nil })
				return test.setup(ctx, app)
			})
			report, err := s.ended(t)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Run returned %v; want one that says %q", err, test.says)
			}
			if !cleaned {
				t.Error("what setup had made was not cleaned up")
			}
			if report.Reason != "the start failed" {
				t.Errorf("the report says %q", report.Reason)
			}
			if phases := phasesOf(s); !slices.Equal(phases, []Phase{Closing, Stopped}) {
				t.Errorf("phases %v", phases)
			}
		})
	}
}

func phasesOf(s *running) (list []Phase) {
	for _, e := range eventsOf[PhaseChanged](s.record) {
		list = append(list, e.To)
	}
	return list
}

func TestSetupFailureKeepsItsError(t *testing.T) {
	broken := errors.New("away")
	s := begin(t, Options{}, func(context.Context, *App) error { return broken })
	if _, err := s.ended(t); !errors.Is(err, broken) {
		t.Errorf("%v does not wrap what setup returned", err)
	}
}

// TestSetupHangs: a start that ignores the end of its time does not hold Run.
func TestSetupHangs(t *testing.T) {
	for _, test := range []struct {
		name  string
		setup func(chan struct{}) func(context.Context, *App) error
	}{
		{"setup", func(letGo chan struct{}) func(context.Context, *App) error {
			return func(_ context.Context, app *App) error { <-letGo; return nil }
		}},
		{"check", func(letGo chan struct{}) func(context.Context, *App) error {
			return func(_ context.Context, app *App) error {
				app.Check("db", func(context.Context) error { <-letGo; return nil })
				return nil
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			letGo := make(chan struct{})
			defer close(letGo)
			cleaned := make(chan struct{})
			setup := test.setup(letGo)
			s := begin(t, Options{StartTimeout: 50 * time.Millisecond, TaskTimeout: 50 * time.Millisecond}, func(ctx context.Context, app *App) error {
				app.Cleanup("database", func(context.Context) error { close(cleaned); return nil })
				return setup(ctx, app)
			})
			report, err := s.ended(t)
			if err == nil || !strings.Contains(err.Error(), "the start took longer than 50ms") {
				t.Errorf("Run returned %v", err)
			}
			if s := stepOf(report, "end of the start"); s.Error == "" {
				t.Errorf("the report does not name the hung start: %v", report.Steps)
			}
			receive(t, "the cleanup runs", cleaned)
		})
	}
}

// stepOf finds a step of a report.
func stepOf(r Report, name string) Step {
	for _, s := range r.Steps {
		if s.Name == name {
			return s
		}
	}
	return Step{}
}

// TestToldToLeaveWhileSetupHangs: its context ends, and Run returns nil, since
// nothing failed.
func TestToldToLeaveWhileSetupHangs(t *testing.T) {
	began := make(chan struct{})
	var cause error
	s := begin(t, Options{}, func(ctx context.Context, app *App) error {
		app.HTTP("web", "127.0.0.1:0", nil)
		close(began)
		<-ctx.Done()
		cause = context.Cause(ctx)
		return nil
	})
	receive(t, "setup begins", began)
	s.leave(t)
	if cause == nil || !strings.Contains(cause.Error(), "the service leaves") {
		t.Errorf("setup's context ended because of %v", cause)
	}
	if got := eventsOf[Listening](s.record); got != nil {
		t.Errorf("a socket was opened for a service that leaves: %v", got)
	}
}

func TestCheckPassesOnThirdAttempt(t *testing.T) {
	var tries atomic.Int32
	s := begin(t, Options{}, func(_ context.Context, app *App) error {
		app.HTTP("web", "127.0.0.1:0", http.HandlerFunc(hello))
		app.Check("db", func(context.Context) error {
			if tries.Add(1) < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		app.Check("cache", func(context.Context) error { return nil })
		return nil
	}).ready(t)
	if n := tries.Load(); n != 3 {
		t.Errorf("the check was tried %d times", n)
	}
	if failed := eventsOf[CheckFailed](s.record); len(failed) != 2 || failed[0].Check != "db" {
		t.Errorf("events of failed checks: %v", failed)
	}
	if err := s.app.Readiness(t.Context()); err != nil {
		t.Errorf("a ready service says %v", err)
	}
	s.leave(t)
	if err := s.app.Readiness(t.Context()); err == nil {
		t.Error("a stopped service says that it is ready")
	}
}

func TestCheckNeverPasses(t *testing.T) {
	away := errors.New("no route to host")
	s := begin(t, Options{StartTimeout: 500 * time.Millisecond}, func(_ context.Context, app *App) error {
		app.HTTP("web", "127.0.0.1:0", http.HandlerFunc(hello))
		app.Check("db", func(context.Context) error { return away })
		return nil
	})
	_, err := s.ended(t)
	if !errors.Is(err, away) || !strings.Contains(err.Error(), `check "db" does not pass (the start took longer than 500ms)`) {
		t.Errorf("Run returned %v", err)
	}
	if n := strings.Count(err.Error(), "the start took longer"); n != 1 {
		t.Errorf("the reason is given %d times: %v", n, err)
	}
}

// TestReadinessNamesChecks: all that fail, not only the first.
func TestReadinessNamesChecks(t *testing.T) {
	var ill atomic.Bool
	s := begin(t, Options{}, func(_ context.Context, app *App) error {
		for _, name := range []string{"db", "cache"} {
			app.Check(name, func(context.Context) error {
				if ill.Load() {
					return errors.New("away")
				}
				return nil
			})
		}
		return nil
	}).ready(t)
	ill.Store(true)
	err := s.app.Readiness(t.Context())
	for _, name := range []string{`"db"`, `"cache"`} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

// TestSocketNobodyTakes: a passed socket without a server is a mistake, except
// after an upgrade, which may give up a server.
func TestSocketNobodyTakes(t *testing.T) {
	for _, predecessor := range []int{0, os.Getppid()} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		in := handover.Inheritance{Sockets: []handover.Socket{{Name: "admin", File: f}}, Predecessor: predecessor}
		s := beginWith(t, Options{}, in, web(http.HandlerFunc(hello)))
		says := func(err error) bool {
			return err != nil && strings.Contains(err.Error(), `cannot use inherited socket "admin"`)
		}
		if predecessor == 0 {
			if _, err := s.ended(t); !says(err) {
				t.Errorf("Run returned %v", err)
			}
		} else {
			s.ready(t)
			awaitEvent(t, s.record, func(e Problem) bool { return says(e.Err) })
			s.leave(t)
		}
		if c, err := net.Dial("tcp", ln.Addr().String()); err == nil {
			c.Close()
			t.Error("the socket that nobody serves is still open")
		}
	}
}

func TestInheritedSocketWinsOverAddress(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	in := handover.Inheritance{Sockets: []handover.Socket{{Name: "web", File: f}}}
	s := beginWith(t, Options{}, in, web(http.HandlerFunc(hello))).ready(t)
	if got := s.addr(t, "web"); got != ln.Addr().String() {
		t.Errorf("it serves %s, was given %s", got, ln.Addr())
	}
	if e := eventsOf[Listening](s.record); !e[0].Inherited {
		t.Error("the event does not say that the socket was inherited")
	}
	if _, body := dial(t, "tcp", ln.Addr().String()).get(t, "/"); body != "hello" {
		t.Errorf("it answered %q", body)
	}
}

func TestRegistrationAfterSetup(t *testing.T) {
	s := begin(t, Options{}, web(http.HandlerFunc(hello))).ready(t)
	s.app.Cleanup("late", func(context.Context) error { t.Error("it ran"); return nil })
	awaitEvent(t, s.record, func(e Problem) bool { return strings.Contains(e.Err.Error(), "after setup has returned") })
	s.leave(t)
}

// TestServerStopsByItself: a service without one of its servers is not one that
// should go on.
func TestServerStopsByItself(t *testing.T) {
	srv := &http.Server{}
	s := begin(t, Options{}, func(_ context.Context, app *App) error {
		app.Serve("web", "127.0.0.1:0", srv)
		return nil
	}).ready(t)
	dial(t, "tcp", s.addr(t, "web")).get(t, "/")
	srv.Close()
	if _, err := s.ended(t); err == nil || !strings.Contains(err.Error(), `server "web" stopped serving`) {
		t.Errorf("Run returned %v", err)
	}
}

func TestServerFails(t *testing.T) {
	broken := errors.New("no more")
	s := begin(t, Options{}, func(_ context.Context, app *App) error {
		app.Serve("odd", "127.0.0.1:0", brokenServer{broken})
		return nil
	})
	if _, err := s.ended(t); !errors.Is(err, broken) {
		t.Errorf("Run returned %v", err)
	}
}

type brokenServer struct{ err error }

func (s brokenServer) Serve(net.Listener) error       { return s.err }
func (s brokenServer) Shutdown(context.Context) error { return nil }

// TestOptionsDefaults: zero is the default, negative is none.
func TestOptionsDefaults(t *testing.T) {
	o := Options{DrainTimeout: -1, TaskTimeout: time.Minute}.withDefaults()
	if o.DrainTimeout != 0 || o.TaskTimeout != time.Minute || o.StartTimeout != DefaultStartTimeout || o.LameDuck != 0 {
		t.Errorf("%+v", o)
	}
	if o.Name != filepath.Base(os.Args[0]) {
		t.Errorf("the service is called %q", o.Name)
	}
}

// TestDropsEnvironment: Run takes what was inherited out of the environment.
func TestRunReadsEnvironment(t *testing.T) {
	t.Setenv(handover.EnvListenFDs, "nonsense")
	err := Run(t.Context(), Options{NoSignals: true}, func(context.Context, *App) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "cannot read what was inherited") {
		t.Errorf("Run returned %v", err)
	}
	if v, ok := os.LookupEnv(handover.EnvListenFDs); ok {
		t.Errorf("%s=%s is still there for children to find", handover.EnvListenFDs, v)
	}
}
