package segue

import "fmt"

// Phase is where a service is in its life.
type Phase int

// The phases. A service that is ready but does not accept, because it is on
// trial or because its successor is on probation, is Paused.
const (
	Starting Phase = iota // setup runs, checks are awaited
	Paused                // ready, gates shut; what was accepted is served
	Ready                 // serves
	Draining              // leaves: finishes what it has
	Closing               // tasks are joined, cleanups run
	Stopped               // Run is about to return
)

var phaseNames = [...]string{"starting", "paused", "ready", "draining", "closing", "stopped"}

// String is the name as it stands in events and reports.
func (p Phase) String() string {
	if p < 0 || int(p) >= len(phaseNames) {
		return fmt.Sprintf("Phase(%d)", int(p))
	}
	return phaseNames[p]
}

// MarshalText writes the name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// step is what can happen to a phase.
type step int

const (
	prepared step = iota // setup done, sockets there, checks passed; a supervisor is to say OPEN
	alone                // the same, and nobody is there to say it
	open                 // OPEN or RESUME
	pause                // PAUSE
	leave                // a signal, DRAIN, STOP, a start or server that failed, ctx
	drained              // nothing is in flight any more, or the budget ended
	closed               // cleanups done
)

var stepNames = [...]string{"prepared", "alone", "open", "pause", "leave", "drained", "closed"}

func (s step) String() string { return stepNames[s] }

// transitions is the whole machine: what is not in the table cannot happen, and
// is refused with an error.
var transitions = map[Phase]map[step]Phase{
	Starting: {prepared: Paused, alone: Ready, leave: Closing},
	Paused:   {open: Ready, pause: Paused, leave: Draining},
	Ready:    {open: Ready, pause: Paused, leave: Draining},
	Draining: {drained: Closing},
	Closing:  {closed: Stopped},
}

// next is the phase that s leads to from p.
func (p Phase) next(s step) (Phase, error) {
	to, ok := transitions[p][s]
	if !ok {
		return p, fmt.Errorf("cannot %v while the service is %v", s, p)
	}
	return to, nil
}
