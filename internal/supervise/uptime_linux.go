package supervise

import (
	"time"

	"golang.org/x/sys/unix"
)

// uptime is a clock that nobody sets, and that goes on from one supervisor to the
// next; 0 where there is none.
func uptime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
