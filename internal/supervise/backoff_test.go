package supervise

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// still is a backoff without jitter.
func still(c Backoff) *backoff {
	b := &backoff{random: func() float64 { return 0.5 }}
	return b.by(c)
}

func TestPauses(t *testing.T) {
	const second, stable = time.Second, DefaultStable
	const over = time.Duration(-1)
	for name, test := range map[string]struct {
		Backoff
		served, pauses []time.Duration
	}{
		"default": {Backoff{}, []time.Duration{0, second, second, second, second},
			[]time.Duration{second / 2, second, 2 * second, 4 * second, over}},
		"capped": {Backoff{First: 3 * second, Max: 10 * second, Limit: -1}, []time.Duration{0, 0, 0, 0, 0, 0},
			[]time.Duration{3 * second, 6 * second, 10 * second, 10 * second, 10 * second, 10 * second}},
		"a first pause above the default maximum": {Backoff{First: time.Hour}, []time.Duration{0, 0},
			[]time.Duration{time.Hour, time.Hour}},
		"the first of a row": {Backoff{}, []time.Duration{0, 0, stable, 0, 0, 0, 0},
			[]time.Duration{second / 2, second, 0, second / 2, second, 2 * second, over}},
		"a little less than stable": {Backoff{Limit: 3}, []time.Duration{stable - 1, stable - 1, stable - 1},
			[]time.Duration{second / 2, second, over}},
		"one is too many": {Backoff{Limit: 1}, []time.Duration{stable}, []time.Duration{over}},
		"the longest there is": {Backoff{First: math.MaxInt64 / 3, Max: math.MaxInt64 / 2, Limit: -1}, []time.Duration{0, 0, 0},
			[]time.Duration{math.MaxInt64 / 3, math.MaxInt64 / 2, math.MaxInt64 / 2}},
	} {
		t.Run(name, func(t *testing.T) {
			b := still(test.Backoff)
			for i, served := range test.served {
				pause, end := b.crash(served)
				if end {
					pause = over
				}
				// Through float64, which has 53 bits.
				if want := test.pauses[i]; math.Abs(float64(pause-want)) > math.Abs(float64(want))/1e12 {
					t.Errorf("crash %d after %v: %v, want %v", i+1, served, pause, want)
				}
			}
		})
	}
}

// TestJitter: every pause is within a fifth of its length, and they differ.
func TestJitter(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	b := &backoff{random: rand.New(rand.NewPCG(seed, 0)).Float64}
	b.by(Backoff{First: time.Second, Max: time.Second, Limit: -1})
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		pause, _ := b.crash(0)
		least, most = min(least, pause), max(most, pause)
	}
	if least < 800*time.Millisecond || most > 1200*time.Millisecond {
		t.Errorf("pauses from %v to %v, want one second, a fifth more or less", least, most)
	}
	if least > 820*time.Millisecond || most < 1180*time.Millisecond {
		t.Errorf("1000 pauses are all between %v and %v", least, most)
	}
}

// TestCrashesAreNotOfOneRow: between them a generation has served for long, or has
// ended as it may.
func TestCrashesAreNotOfOneRow(t *testing.T) {
	for name, between := range map[string]func(*backoff){
		"replaced":  func(b *backoff) { b.served(DefaultStable) },
		"ended":     func(b *backoff) { b.again(time.Second) },
		"ended far": func(b *backoff) { b.again(DefaultStable) },
	} {
		b := still(Backoff{})
		for range 3 * DefaultCrashLimit {
			if _, over := b.crash(time.Second); over {
				t.Fatalf("%s: given up, though the service was well in between", name)
			}
			between(b)
		}
	}
	b := still(Backoff{})
	b.crash(time.Second)
	b.served(time.Second)
	b.crash(time.Second)
	if b.row != 2 {
		t.Errorf("%d in a row", b.row)
	}
}

// TestEndsThatAreNoFailure never end in giving up, and do not become a busy loop.
func TestEndsThatAreNoFailure(t *testing.T) {
	b := still(Backoff{})
	var pause time.Duration
	for range 100 {
		pause = b.again(0)
	}
	if pause != DefaultMaxBackoff || b.row != 0 {
		t.Errorf("pause %v, row %d", pause, b.row)
	}
	if pause := b.again(DefaultStable); pause != 0 {
		t.Errorf("pause %v after a stable time", pause)
	}
}

// TestOtherSettings do not make a new row.
func TestOtherSettings(t *testing.T) {
	b := still(Backoff{})
	b.crash(0)
	b.crash(0)
	if _, over := b.by(Backoff{Limit: 3}).crash(0); !over {
		t.Errorf("%d crashes are fewer than 3", b.row)
	}
}
