package handover

import (
	"context"
	"fmt"
	"os"
	"time"
)

// soloPoll is how often a waiting generation tries the lock: flock(2) has no
// event to wait for that a context could interrupt.
const soloPoll = 100 * time.Millisecond

// SoloLock is held by the one generation that runs solo tasks. The kernel lets
// it go when the holder releases it or dies, in whatever order generations and
// supervisors end.
type SoloLock struct{ f *os.File }

// AcquireSolo waits for the lock behind f (from [NewSoloLock], by whatever
// process) until ctx ends. f stays the caller's.
func AcquireSolo(ctx context.Context, f *os.File) (*SoloLock, error) {
	// A lock belongs to the open file description, and an inherited descriptor
	// shares it with the other generations: open it anew.
	own, err := reopen(f)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock for solo tasks: %w", err)
	}
	tick := time.NewTicker(soloPoll)
	defer tick.Stop()
	for {
		ok, err := tryLock(own)
		if ok {
			return &SoloLock{own}, nil
		}
		if err != nil {
			own.Close()
			return nil, fmt.Errorf("cannot lock for solo tasks: %w", err)
		}
		select {
		case <-ctx.Done():
			own.Close()
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Release lets the next generation's solo tasks start.
func (l *SoloLock) Release() error { return l.f.Close() }
