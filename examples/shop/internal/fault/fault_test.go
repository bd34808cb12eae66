package fault_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-go/segue/examples/shop/internal/fault"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]fault.Fault{
		"":          {},
		"crash":     {Kind: fault.Crash},
		"hang":      {Kind: fault.Hang},
		"sick":      {Kind: fault.Sick},
		"slow":      {Kind: fault.Slow, After: 2 * time.Second},
		"slow:0s":   {Kind: fault.Slow},
		"die":       {Kind: fault.Die, After: 400 * time.Millisecond},
		"die:1m30s": {Kind: fault.Die, After: 90 * time.Second},
	} {
		if got, err := fault.Parse(s); err != nil || got != want {
			t.Errorf("%q: %+v %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"crash:1s", "die:", "die:x", "die:-1s", "slow:48h", "explode", ":1s", " "} {
		if got, err := fault.Parse(s); err == nil {
			t.Errorf("%q was understood as %+v", s, got)
		}
	}
}

func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if err := (fault.Fault{Kind: fault.Slow, After: time.Second}).Start(ctx); err != nil || time.Since(begin) != time.Second {
			t.Errorf("slow: %v after %v", err, time.Since(begin))
		}
		if err := (fault.Fault{Kind: fault.Crash}).Start(ctx); err == nil {
			t.Error("crash: started")
		}
		if err := (fault.Fault{Kind: fault.Hang}).Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hang: %v", err)
		}
		if err := (fault.Fault{}).Start(ctx); err != nil {
			t.Errorf("no fault: %v", err)
		}
	})
}

func TestSickIsNotReady(t *testing.T) {
	if (fault.Fault{Kind: fault.Sick}).Ready() == nil || (fault.Fault{}).Ready() != nil {
		t.Error("sick is to be told from well")
	}
}
