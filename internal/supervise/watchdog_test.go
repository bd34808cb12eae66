package supervise

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatchdog in virtual time. Every step is a time after the one before, and
// what happens then.
func TestWatchdog(t *testing.T) {
	const second = time.Second
	type step struct {
		after time.Duration
		what  string
	}
	for name, test := range map[string]struct {
		steps  []step
		reason string
		at     time.Duration // the end of the wait
	}{
		"silent from READY on":          {[]step{{5 * second, "ready"}}, "said nothing for 10s", 16 * second},
		"silent before READY":           {[]step{{100 * second, "ready"}, {second, "over"}}, "", 101 * second},
		"never ready":                   {[]step{{100 * second, "over"}}, "", 100 * second},
		"alive":                         {[]step{{0, "ready"}, {9 * second, "1"}, {9 * second, "1"}, {9 * second, "1"}, {9 * second, "over"}}, "", 36 * second},
		"silent at last":                {[]step{{0, "ready"}, {9 * second, "1"}, {5 * second, "1"}}, "said nothing for 10s", 25 * second},
		"alive in the last moment":      {[]step{{0, "ready"}, {10*second + second/2, "1"}, {second, "over"}}, "", 11*second + second/2},
		"silent after the last moment":  {[]step{{0, "ready"}, {10*second + second/2, "1"}}, "said nothing for 10s", 21*second + second/2},
		"leaves in the last moment":     {[]step{{0, "ready"}, {10*second + second/2, "over"}}, "", 10*second + second/2},
		"asks for it":                   {[]step{{0, "ready"}, {3 * second, "trigger"}}, "it asked for its end", 3 * second},
		"asks for it before READY":      {[]step{{second, "trigger"}, {second, "ready"}}, "it asked for its end", 2 * second},
		"what it said was not read yet": {[]step{{0, "ready"}, {5 * second, "unread"}, {14 * second, "over"}}, "", 19 * second},
		"read late, then silent":        {[]step{{0, "ready"}, {5 * second, "unread"}}, "said nothing for 10s", 21 * second},
		"nobody knows":                  {[]step{{0, "ready"}, {0, "broken"}, {35 * second, "over"}}, "", 35 * second},
		"nobody knows for a while":      {[]step{{0, "ready"}, {0, "broken"}, {15 * second, "mended"}}, "said nothing for 10s", 21 * second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatchdog(10 * second)
				ready := make(chan struct{})
				var unread, broken atomic.Bool
				go func() {
					for _, s := range test.steps {
						time.Sleep(s.after)
						switch s.what {
						case "ready":
							close(ready)
						case "over":
							w.end()
							w.end()
						case "unread":
							unread.Store(true)
						case "broken", "mended":
							broken.Store(s.what == "broken")
						default:
							w.hear(s.what)
						}
					}
				}()
				began := time.Now()
				reason := w.wait(ready, func() error {
					if broken.Load() {
						return errors.New("the socket is gone")
					}
					if unread.Swap(false) {
						w.hear("1")
					}
					return nil
				})
				if took := time.Since(began); reason != test.reason || took != test.at {
					t.Errorf("%q after %v, want %q after %v", reason, took, test.reason, test.at)
				}
			})
		})
	}
}

// TestWatchdogWakesLate: a last moment that was much longer than it should have
// been does not count. The generation may not have run either.
func TestWatchdogWakesLate(t *testing.T) {
	for slept, want := range map[time.Duration]time.Duration{
		0: 11 * time.Second, 900 * time.Millisecond: 11 * time.Second, 1100 * time.Millisecond: 12 * time.Second, time.Hour: 12 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWatchdog(10 * time.Second)
			ready := make(chan struct{})
			close(ready)
			began := time.Now()
			w.now = func() time.Time {
				if now := time.Now(); now.Sub(began) <= 10*time.Second {
					return now
				}
				return time.Now().Add(slept) // of the last moment
			}
			if reason := w.wait(ready, func() error { return nil }); reason == "" || time.Since(began) != want {
				t.Errorf("stopped for %v: %q after %v, want %v", slept, reason, time.Since(began), want)
			}
		})
	}
}

func TestNoWatchdog(t *testing.T) {
	w := newWatchdog(0)
	w.hear("1")
	w.end()
	if end := errors.New("exited with status 3"); w != nil || w.usec() != "" || w.explain(end) != end || w.bit() {
		t.Errorf("%+v", w)
	}
}

func TestWatchdogExplains(t *testing.T) {
	w := newWatchdog(1500 * time.Millisecond)
	end := errors.New("exited with status 2")
	if w.usec() != "1500000" || w.explain(nil) != nil || w.explain(end) != end || w.bit() {
		t.Error("before")
	}
	w.blame("said nothing for 1.5s")
	if err := w.explain(end); !errors.Is(err, end) || err.Error() != "was ended by its watchdog (said nothing for 1.5s): exited with status 2" || !w.bit() || w.explain(nil) != nil {
		t.Errorf("after: %v", err)
	}
}
