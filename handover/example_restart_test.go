package handover_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/segue-go/segue/handover"
)

// version is a generation that lives in this process.
type version struct {
	name        string
	checks      error
	ready, done chan struct{}
}

func start(name string, checks error) *version {
	v := &version{name, checks, make(chan struct{}), make(chan struct{})}
	close(v.ready)
	return v
}

func (v *version) Ready() <-chan struct{} { return v.ready }
func (v *version) Done() <-chan struct{}  { return v.done }
func (v *version) Err() error             { return nil }
func (v *version) Steerable() bool        { return true }
func (v *version) End(graceful bool)      { fmt.Println(v.name, "ends") }

func (v *version) Call(_ context.Context, verb handover.Verb) error {
	switch verb {
	case handover.Check:
		return v.checks
	case handover.Open, handover.Pause:
		fmt.Println(v.name, verb)
	}
	return nil
}

func ExampleRestart() {
	old := start("one", nil)
	try := func(name string, checks error) {
		next, report := handover.Restart{
			Old:          old,
			Spawn:        func(context.Context) (handover.Generation, error) { return start(name, checks), nil },
			ReadyTimeout: handover.DefaultReadyTimeout, // a trial and a probation of no time: one check each
		}.Run(context.Background())
		fmt.Println(next != nil, report.Outcome, report.Failed, report.Reason)
	}
	try("two", errors.New("no database"))
	try("three", nil)
	// Output:
	// two ends
	// false rolled back trial no database
	// three OPEN
	// one PAUSE
	// true done
}
