// Package fault makes a version of the shop that goes wrong, so that a restart
// into it can be shown, and tested, to be rolled back.
package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Kind of fault.
type Kind string

const (
	None  Kind = ""
	Crash Kind = "crash" // exits with 1 while starting
	Hang  Kind = "hang"  // never becomes ready
	Slow  Kind = "slow"  // takes its time to start: slow:2s
	Sick  Kind = "sick"  // starts, and /readyz says no
	Die   Kind = "die"   // is killed some time after it became ready: die:400ms
)

// Fault is a kind and, for slow and die, a time.
type Fault struct {
	Kind  Kind
	After time.Duration
}

var usual = map[Kind]time.Duration{Slow: 2 * time.Second, Die: 400 * time.Millisecond}

// Parse reads "", "crash", "hang", "sick", "slow[:D]" or "die[:D]".
func Parse(s string) (Fault, error) {
	name, after, given := strings.Cut(s, ":")
	f := Fault{Kind: Kind(name)}
	switch f.Kind {
	case None, Crash, Hang, Sick:
		if given {
			return Fault{}, fmt.Errorf("fault %q: %s takes no time, write just %q", s, name, name)
		}
		return f, nil
	case Slow, Die:
		if !given {
			f.After = usual[f.Kind]
			return f, nil
		}
		d, err := time.ParseDuration(after)
		if err != nil || d < 0 || d > time.Hour {
			return Fault{}, fmt.Errorf("fault %q: %q is not a time, write for example %s:400ms", s, after, name)
		}
		f.After = d
		return f, nil
	}
	return Fault{}, fmt.Errorf("fault %q is not known: use crash, hang, sick, slow:2s or die:400ms", s)
}

// Start is called while the service starts. It fails, or takes its time, or
// does neither.
func (f Fault) Start(ctx context.Context) error {
	switch f.Kind {
	case Crash:
		return errors.New("crashing on request (SHOP_FAULT=crash)")
	case Hang:
		<-ctx.Done()
		return ctx.Err()
	case Slow:
		return wait(ctx, f.After)
	}
	return nil
}

// Ready fails for a service that is sick.
func (f Fault) Ready() error {
	if f.Kind == Sick {
		return errors.New("sick on request (SHOP_FAULT=sick)")
	}
	return nil
}

// Run is called when the service has become ready. With Die it does not return:
// the process is killed, with no chance to say anything, as the kernel does when
// memory runs out.
func (f Fault) Run(ctx context.Context) error {
	if f.Kind != Die {
		return nil
	}
	if wait(ctx, f.After) != nil {
		return nil // leaving before its time had come
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	if err := self.Kill(); err != nil {
		return err
	}
	<-ctx.Done() // SIGKILL is on its way
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
