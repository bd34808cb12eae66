package control

import (
	"context"
	"io"

	"github.com/segue-go/segue/client"
)

// Backend is what the API is about: a supervised service. Its methods are called
// concurrently.
type Backend interface {
	Status() client.Status
	// Restart returns when the restart is over; an error means that none was begun.
	Restart(ctx context.Context, r client.RestartRequest) (client.Report, error)
	// Stop returns when the last generation is gone; an error means that nothing was begun.
	Stop(ctx context.Context) (client.Report, error)
	// Subscribe's channel gets every event from now on until cancel; it is closed
	// when there will be no more.
	Subscribe() (events <-chan client.Event, cancel func())
	// Follow writes the output of a generation, whole lines only; see
	// client.LogsRequest. label, if not nil, is what stands before each line.
	Follow(ctx context.Context, generation int, follow bool, label func(generation int) string, w io.Writer) error
}
