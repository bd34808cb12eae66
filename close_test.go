package segue

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCleanupsInReverse: each with its own budget; one that hangs and one that
// panics cost theirs, and no other.
func TestCleanupsInReverse(t *testing.T) {
	const budget = 250 * time.Millisecond
	letGo := make(chan struct{})
	defer close(letGo)
	full := errors.New("disk full")
	var mu sync.Mutex
	var order []string
	var late error
	s := begin(t, Options{CleanupTimeout: budget}, func(_ context.Context, app *App) error {
		clean := func(name string, f func(context.Context) error) {
			app.Cleanup(name, func(ctx context.Context) error {
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				return f(ctx)
			})
		}
		clean("database", func(context.Context) error { return nil })
		clean("log", func(context.Context) error { return full })
		clean("cache", func(context.Context) error { panic("nil cache") })
		clean("queue", func(ctx context.Context) error {
			mu.Lock()
			late = ctx.Err()
			mu.Unlock()
			<-letGo
			return nil
		})
		return nil
	}).ready(t)
	s.stop()
	report, err := s.ended(t)
	mu.Lock() // the hung one was never joined
	defer mu.Unlock()
	if want := []string{"queue", "cache", "log", "database"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	if late != nil {
		t.Errorf("the budget of a cleanup was over when it began: %v", late)
	}
	for _, want := range []string{"cleanup queue: did not return within", "cleanup cache panicked: nil cache", "cleanup log: disk full"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if !errors.Is(err, full) {
		t.Errorf("%v does not wrap what a cleanup returned", err)
	}
	if q := stepOf(report, "cleanup queue"); q.Took < budget/2 || q.Error == "" {
		t.Errorf("the hung cleanup in the report: %+v", q)
	}
	if d := stepOf(report, "cleanup database"); d.Name == "" || d.Error != "" {
		t.Errorf("the last cleanup in the report: %+v", d)
	}
}

// TestHungTask costs the budget of the tasks; cleanups run.
func TestHungTask(t *testing.T) {
	letGo := make(chan struct{})
	cleaned := false
	s := begin(t, Options{TaskTimeout: 50 * time.Millisecond}, func(_ context.Context, app *App) error {
		app.Go("deaf", func(context.Context) error { <-letGo; return nil })
		app.Cleanup("database", func(context.Context) error { cleaned = true; return nil })
		return nil
	}).ready(t)
	s.stop()
	report, err := s.ended(t)
	close(letGo)
	if err == nil || !strings.Contains(err.Error(), "tasks: did not return within") || !cleaned {
		t.Errorf("%v, cleaned: %v", err, cleaned)
	}
	if stepOf(report, "tasks").Error == "" {
		t.Errorf("the report says nothing of it: %v", report.Steps)
	}
}

// TestTasksEndAfterRequests: a request in flight may need them to its end.
func TestTasksEndAfterRequests(t *testing.T) {
	h := newHolder(t)
	var mu sync.Mutex
	var order []string
	say := func(what string) { mu.Lock(); defer mu.Unlock(); order = append(order, what) }
	s := begin(t, Options{}, func(_ context.Context, app *App) error {
		app.Serve("web", "127.0.0.1:0", &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			say("request")
		})})
		for _, add := range []func(string, func(context.Context) error){app.Go, app.Solo} {
			add("task", func(ctx context.Context) error { <-ctx.Done(); say("task"); return ctx.Err() })
		}
		app.Cleanup("database", func(context.Context) error { say("cleanup"); return nil })
		return nil
	}).ready(t)
	c := dial(t, "tcp", s.addr(t, "web"))
	c.send("/")
	receive(t, "the request is in flight", h.entered)
	s.stop()
	s.draining(t)
	h.release()
	c.receive()
	c.Close()
	if _, err := s.ended(t); err != nil {
		t.Error(err) // that a task returns the end of its context is no error
	}
	if want := []string{"request", "task", "task", "cleanup"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

// TestTaskErrorEndsService, and one that panics is one that failed. One that
// returns is only told of.
func TestTaskErrorEndsService(t *testing.T) {
	broken := errors.New("queue gone")
	for _, solo := range []bool{false, true} {
		for _, fails := range []string{"error", "panic", "nothing"} {
			s := begin(t, Options{}, func(_ context.Context, app *App) error {
				add := app.Go
				if solo {
					add = app.Solo
				}
				add("relay", func(context.Context) error {
					switch fails {
					case "error":
						return broken
					case "panic":
						panic("no relay")
					}
					return nil
				})
				return nil
			})
			e := awaitEvent[TaskEnded](t, s.record, nil)
			if e.Task != "relay" || (e.Err == nil) != (fails == "nothing") {
				t.Errorf("solo=%v %s: %v", solo, fails, e)
			}
			if fails == "nothing" {
				s.leave(t)
				continue
			}
			report, err := s.ended(t)
			if err == nil || !strings.Contains(err.Error(), `task "relay" failed`) || !strings.Contains(report.Reason, `task "relay" failed`) {
				t.Errorf("solo=%v %s: %v; reason %q", solo, fails, err, report.Reason)
			}
			if fails == "error" && !errors.Is(err, broken) {
				t.Errorf("%v does not wrap what the task returned", err)
			}
		}
	}
}

// TestForced: every wait that is under way, and every later one, is cut short.
func TestForced(t *testing.T) {
	h := newHolder(t)
	letGo := make(chan struct{})
	defer close(letGo)
	s := begin(t, Options{DrainTimeout: time.Hour, CleanupTimeout: time.Hour, LameDuck: time.Hour}, func(_ context.Context, app *App) error {
		app.HTTP("web", "127.0.0.1:0", h)
		app.Cleanup("deaf", func(context.Context) error { <-letGo; return nil })
		return nil
	}).ready(t)
	c := dial(t, "tcp", s.addr(t, "web"))
	c.send("/")
	receive(t, "the request is in flight", h.entered)
	s.stop()
	s.draining(t)
	s.m.do(func() error { s.m.force(ErrForced); return nil })
	report, err := s.ended(t)
	if !errors.Is(err, ErrForced) || !report.Forced {
		t.Errorf("%v, forced %v", err, report.Forced)
	}
	if len(report.Cut) != 1 || stepOf(report, "lame duck").Error == "" || stepOf(report, "cleanup deaf").Error == "" {
		t.Errorf("%v", report)
	}
}

// TestReload: in order, until the first error, one round at a time.
func TestReload(t *testing.T) {
	bad := errors.New("bad value")
	var order []string
	fail := false
	s := begin(t, Options{}, func(_ context.Context, app *App) error {
		app.Reload("flags", func(context.Context) error { order = append(order, "flags"); return nil })
		app.Reload("file", func(context.Context) error {
			order = append(order, "file")
			if fail {
				return bad
			}
			return nil
		})
		app.Reload("routes", func(context.Context) error { order = append(order, "routes"); return nil })
		return nil
	}).ready(t)
	if err := s.m.reload(t.Context()); err != nil {
		t.Error(err)
	}
	fail = true
	if err := s.m.reload(t.Context()); !errors.Is(err, bad) {
		t.Errorf("a reload that failed returned %v", err)
	}
	if want := []string{"flags", "file", "routes", "flags", "file"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	awaitEvent(t, s.record, func(e Reloaded) bool { return errors.Is(e.Err, bad) })
	s.leave(t)
	if err := s.m.reload(t.Context()); err == nil {
		t.Error("a stopped service was reloaded")
	}
}

// TestNoReloadBeforeReady: what is to be reloaded is still being registered.
func TestNoReloadBeforeReady(t *testing.T) {
	letGo := make(chan struct{})
	began := make(chan struct{})
	s := begin(t, Options{}, func(_ context.Context, app *App) error {
		close(began)
		<-letGo
		app.Reload("file", func(context.Context) error { return nil })
		return nil
	})
	receive(t, "setup begins", began)
	if err := s.m.reload(t.Context()); err == nil || !strings.Contains(err.Error(), "while the service is starting") {
		t.Errorf("a reload during setup: %v", err)
	}
	close(letGo)
	s.ready(t)
}
