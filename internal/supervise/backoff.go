package supervise

import (
	"cmp"
	"math/rand/v2"
	"time"
)

const jitter = 0.2 // of a pause, to either side

// backoff counts crashes in a row, and says how long to wait after each. What it
// is told are durations: a clock that is set does not touch them. The zero value
// must be given its settings with by.
type backoff struct {
	Backoff
	row    int
	pause  time.Duration  // the last one, before the jitter
	random func() float64 // of [0, 1)
}

// by goes on by other settings.
func (b *backoff) by(c Backoff) *backoff {
	c.First = cmp.Or(c.First, DefaultBackoff)
	c.Max = max(c.First, cmp.Or(c.Max, DefaultMaxBackoff))
	c.Stable = cmp.Or(c.Stable, DefaultStable)
	c.Limit = cmp.Or(c.Limit, DefaultCrashLimit)
	b.Backoff = c
	if b.random == nil {
		b.random = rand.Float64
	}
	return b
}

// served is told for how long a generation has served that was replaced: those
// who crashed before it are not of the same row as those who will after it.
func (b *backoff) served(d time.Duration) {
	if d >= b.Stable {
		b.row, b.pause = 0, 0
	}
}

// crash is the pause before the next start; over means that there should be none.
func (b *backoff) crash(served time.Duration) (pause time.Duration, over bool) {
	pause = b.rest(served)
	b.row++
	return pause, b.Limit > 0 && b.row >= b.Limit
}

// again is the pause before the next start after an end that was no failure: it
// grows all the same, but ends the row.
func (b *backoff) again(served time.Duration) time.Duration {
	pause := b.rest(served)
	b.row = 0
	return pause
}

// rest doubles the pause. After a stable time there is none: the sockets are open,
// and clients wait.
func (b *backoff) rest(served time.Duration) time.Duration {
	if b.served(served); served >= b.Stable {
		return 0
	}
	b.pause = min(b.Max, max(b.First, 2*b.pause))
	return time.Duration(float64(b.pause) * (1 - jitter + 2*jitter*b.random()))
}
