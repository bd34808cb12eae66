package conns

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// waitingConn is a connection that can be told, and has nobody at the other end.
func waitingConn() *Conn {
	c := &Conn{}
	c.live.Store(&live{})
	return c
}

// paced has n connections told and returns when each was.
func paced(t *testing.T, pace Pace, within time.Duration, n int) (at []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		stop := make(chan struct{})
		p := &pacer{pace: pace, stop: stop, tell: func(turn, *rand.Rand) { at = append(at, time.Since(began)) }}
		if within > 0 {
			p.within(within)
		}
		for range n {
			p.enlist(turn{c: waitingConn()})
		}
		for running := true; running; {
			time.Sleep(time.Second) // of the bubble
			p.mu.Lock()
			running = p.running
			p.mu.Unlock()
		}
	})
	return at
}

func TestPaceIsKept(t *testing.T) {
	for _, test := range []struct {
		name   string
		pace   Pace
		within time.Duration
		n      int
		rate   float64
	}{
		{"configured", Pace{PerSecond: 200}, 0, 4000, 200},
		{"fast", Pace{PerSecond: 5000}, 0, 20000, 5000},
		{"slow", Pace{PerSecond: 0.5}, 0, 20, 0.5},
		{"all within", Pace{Within: 10 * time.Second}, 0, 9500, 950},
		{"half the budget", Pace{}, 5 * time.Second, 5000, 1000},
		{"a few", Pace{}, 0, 100, leastPerSec},
		{"a lot of jitter", Pace{PerSecond: 100, Jitter: 1}, 0, 4000, 100},
		{"none", Pace{PerSecond: 100, Jitter: -1}, 0, 4000, 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			at := paced(t, test.pace, test.within, test.n)
			if len(at) != test.n {
				t.Fatalf("%d of %d were told", len(at), test.n)
			}
			rate := float64(test.n-1) / at[len(at)-1].Seconds()
			if math.Abs(rate/test.rate-1) > 0.2 {
				t.Errorf("%.1f/s in place of %.1f/s", rate, test.rate)
			}
			var least, most time.Duration = time.Hour, 0
			for i := 1; i < len(at); i++ {
				least, most = min(least, at[i]-at[i-1]), max(most, at[i]-at[i-1])
			}
			if jitter := test.pace.Jitter; jitter < 0 && most-least > time.Millisecond || jitter >= 0 && least == most {
				t.Errorf("intervals from %v to %v", least, most)
			}
		})
	}
}

func TestPaceIsReproducible(t *testing.T) {
	a, b := paced(t, Pace{Seed: 7}, 0, 100), paced(t, Pace{Seed: 7}, 0, 100)
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("turn %d at %v and at %v", i, a[i], b[i])
		}
	}
}

// TestPaceSkipsTheGone: who has gone by himself costs no time.
func TestPaceSkipsTheGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		p := &pacer{pace: Pace{PerSecond: 1}, tell: func(turn, *rand.Rand) { told++ }}
		for range 1000 {
			p.enlist(turn{c: &Conn{}})
		}
		p.enlist(turn{c: waitingConn()})
		synctest.Wait()
		if told != 1 {
			t.Errorf("%d were told at once", told)
		}
	})
}

func TestPaceStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		told := 0
		p := &pacer{pace: Pace{PerSecond: 0.001}, stop: stop, tell: func(turn, *rand.Rand) { told++ }}
		for range 3 {
			p.enlist(turn{c: waitingConn()})
		}
		synctest.Wait()
		close(stop)
		synctest.Wait()
		p.enlist(turn{c: waitingConn()})
		if told != 1 || p.running {
			t.Errorf("%d told, running: %v", told, p.running)
		}
	})
}
