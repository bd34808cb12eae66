package supervise

import (
	"context"
	"os"

	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/launch"
)

// process is that of a generation: its number, and what the system does with it.
type process struct {
	PID int
	handle
}

// handle is how a process is followed and ended: a [handover.Process] outside of tests.
type handle interface {
	Started() uint64
	Owns(pid int) bool
	Signal(os.Signal) error
	Done() <-chan struct{}
	Err() error
	ExitCode() int
}

// link is the way to a generation that speaks the control wire: a [handover.Link]
// outside of tests.
type link interface {
	Call(context.Context, handover.Verb, handover.Fields, ...*os.File) (handover.Fields, error)
	Borrow(context.Context) ([]handover.Socket, error)
	Close() error
}

func processOf(p *handover.Process) process { return process{p.PID, p} }

// launched starts the process of a generation.
func launched(s launch.Spec, c handover.Command) (process, error) {
	p, err := s.Start(c)
	if err != nil {
		return process{}, err
	}
	return processOf(p), nil
}
