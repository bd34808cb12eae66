package segue

import (
	"os"
	"path/filepath"
	"time"

	"github.com/segue-go/segue/conns"
)

// Default budgets, used where an [Options] field is zero.
const (
	DefaultStartTimeout    = 30 * time.Second
	DefaultDrainTimeout    = 30 * time.Second
	DefaultIdleTimeout     = 5 * time.Second
	DefaultShutdownTimeout = 5 * time.Second
	DefaultTaskTimeout     = 5 * time.Second
	DefaultCleanupTimeout  = 5 * time.Second
	DefaultTrial           = time.Second
	DefaultProbation       = 5 * time.Second
)

// Options of a service. The zero value works. A zero budget means its default;
// a negative one means none: the step is not waited for at all.
type Options struct {
	// Name of the service in events and reports. Default: the program's name.
	Name string

	// Events is told what happens, one event at a time and in order, from a
	// goroutine of its own. While it is slow events queue up; beyond 1024 they
	// are dropped and counted. Default: nobody is told.
	Events func(Event)

	// StartTimeout bounds setup and checks together, and each reload.
	StartTimeout time.Duration

	// LameDuck is how long the service goes on serving, answers saying
	// `Connection: close`, after it was told to leave for good, so that load
	// balancers can look away. Default 0: not at all. With a successor there is
	// nothing to look away from, and it does not apply.
	LameDuck time.Duration

	// DrainTimeout bounds the time in which live connections go to the successor
	// and the wait for requests in flight, streams and hijacked connections, both
	// together. What is left then is cut and named in the report.
	DrainTimeout time.Duration

	// Pace is how fast WebSockets, event streams and other upgraded connections
	// that cannot go on in a successor are told goodbye, Limits what they have to
	// keep to. Both are for each *http.Server by itself. Pace.Within is by default half
	// of the DrainTimeout that counts.
	Pace   conns.Pace
	Limits conns.Limits

	// IdleTimeout is how long an idle connection that could not be told goodbye
	// is kept when there is no successor: its next request gets a 503 instead of
	// a reset. With a successor it is kept, and served, for DrainTimeout.
	IdleTimeout time.Duration

	// ShutdownTimeout bounds Shutdown of each server after the wait.
	ShutdownTimeout time.Duration

	// TaskTimeout bounds the join of all tasks, CleanupTimeout each cleanup.
	TaskTimeout    time.Duration
	CleanupTimeout time.Duration

	// Trial and Probation are for a handover by SIGUSR2, in which this process
	// is its successor's supervisor. Under `segue run` the supervisor's count.
	Trial     time.Duration
	Probation time.Duration

	// NoSignals leaves the process's signals alone. Ending ctx then is the way
	// to stop the service.
	NoSignals bool
}

// pace is Pace within the DrainTimeout, which a supervisor may have changed.
func (o Options) pace() conns.Pace {
	if o.Pace.Within == 0 {
		o.Pace.Within = o.DrainTimeout / 2
	}
	return o.Pace
}

// withDefaults fills in what is zero.
func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = filepath.Base(os.Args[0])
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.StartTimeout, DefaultStartTimeout},
		{&o.DrainTimeout, DefaultDrainTimeout},
		{&o.IdleTimeout, DefaultIdleTimeout},
		{&o.ShutdownTimeout, DefaultShutdownTimeout},
		{&o.TaskTimeout, DefaultTaskTimeout},
		{&o.CleanupTimeout, DefaultCleanupTimeout},
		{&o.Trial, DefaultTrial},
		{&o.Probation, DefaultProbation},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
		*d.field = max(*d.field, 0)
	}
	return o
}
