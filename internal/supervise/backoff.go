package supervise

import (
	"math/rand/v2"
	"time"
)

// How a service that keeps crashing is started again.
const (
	stableAfter = 10 * time.Second       // one that served for as long has not crashed "again"
	firstPause  = 500 * time.Millisecond // doubled from crash to crash
	jitter      = 0.2                    // of the pause, to either side
	crashLimit  = 5                      // in a row, then the service has failed
)

// backoff counts crashes in a row.
type backoff struct{ row int }

// served is told for how long a generation has served that was replaced: those
// who crashed before it are not of the same row as those who will after it.
func (b *backoff) served(d time.Duration) {
	if d >= stableAfter {
		b.row = 0
	}
}

// crash is the pause before the next start; over means that there should be
// none. The first start after a stable time comes at once: the sockets are
// open, and clients wait.
func (b *backoff) crash(served time.Duration) (pause time.Duration, over bool) {
	if served >= stableAfter {
		b.row = 0
		return 0, false
	}
	b.row++
	if b.row >= crashLimit {
		return 0, true
	}
	pause = firstPause << (b.row - 1)
	return time.Duration(float64(pause) * (1 - jitter + 2*jitter*rand.Float64())), false
}
