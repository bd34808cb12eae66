package control

import (
	"context"
	"io"

	"github.com/segue-go/segue/client"
)

// Backend is what the API is about: a supervisor. Its methods are called
// concurrently. An error of one that returns a report means that nothing was
// begun; it returns when what was asked for is over.
type Backend interface {
	Overview() client.Overview

	Restart(ctx context.Context, service string, r client.RestartRequest) (client.Report, error)
	Rollback(ctx context.Context, service string) (client.Report, error)
	Start(ctx context.Context, service string) (client.Report, error)
	Stop(ctx context.Context, service string) (client.Report, error) // "" is all of them, and the end of the supervisor
	Reload(ctx context.Context, service string) (client.Report, error)
	Upgrade(ctx context.Context, r client.UpgradeRequest) error // returns only what kept it from happening

	// Subscribe's channel gets every event from now on until cancel; it is closed
	// when there will be no more.
	Subscribe() (events <-chan client.Event, cancel func())
	// Logs writes the output that r asks for, whole lines only, labelled if it says so.
	Logs(ctx context.Context, r client.LogsRequest, w io.Writer) error
	// Reader says whether a user that is neither the supervisor's nor root, with
	// these groups, may read.
	Reader(uid int, groups []int) bool
}
