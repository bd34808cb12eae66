package supervise

import (
	"testing"
	"time"
)

func TestCrashesInARow(t *testing.T) {
	var b backoff
	for i := range crashLimit - 1 {
		pause, over := b.crash(time.Second)
		if least := time.Duration(float64(firstPause<<i) * (1 - jitter)); over || pause < least {
			t.Errorf("crash %d: pause %v, over %v", i+1, pause, over)
		}
	}
	if _, over := b.crash(time.Second); !over {
		t.Errorf("%d crashes in a row are not too many", crashLimit)
	}
}

// TestCrashesAreNotOfOneRow: between them a generation has served for long,
// whether it crashed itself or was replaced.
func TestCrashesAreNotOfOneRow(t *testing.T) {
	var b backoff
	for range 3 * crashLimit {
		if _, over := b.crash(time.Second); over {
			t.Fatal("given up, though the service was well in between")
		}
		b.served(stableAfter)
	}
	b.crash(time.Second)
	b.served(time.Second)
	b.crash(time.Second)
	if b.row != 2 {
		t.Errorf("%d in a row", b.row)
	}
	if pause, over := b.crash(stableAfter); pause != 0 || over || b.row != 0 {
		t.Errorf("pause %v, over %v, row %d", pause, over, b.row)
	}
}
