package segue

import (
	"fmt"
	"strings"
	"time"

	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/handover"
)

// Event is something that happened in the life of a service: one of the types of
// this package that implement it. String is one line for people.
type Event interface {
	fmt.Stringer
	isEvent()
}

// PhaseChanged is an Event: the service is in another phase.
type PhaseChanged struct {
	From, To Phase
	Reason   string // "" when it is the normal course of things
}

// Listening is an Event: a server has its socket.
type Listening struct {
	Server, Addr string
	Inherited    bool
}

// CheckFailed is an Event: a check that readiness waits for did not pass; it
// will be tried again.
type CheckFailed struct {
	Check string
	Err   error
}

// SignalReceived is an Event.
type SignalReceived struct{ Signal, Meaning string }

// StepEnded is an Event: a step of the start or of the leaving is over.
type StepEnded struct{ Step Step }

// Waiting is an Event: what the draining service still waits for, about once a
// second.
type Waiting struct {
	Requests    int
	Connections int
	Idle        int           // connections without a request, which could not be told yet
	Left        time.Duration // until the rest is cut
}

// ConnectionCut is an Event: a connection was closed with something in it, or
// without having been told.
type ConnectionCut struct{ Cut conns.Cut }

// ConnectionsMoved is an Event: live connections go to another process, or have
// come from one. It is told about once a second while they do, and at the end.
type ConnectionsMoved struct {
	Departed int   // so far
	Arrived  int   // so far, from one process
	Move     *Move // how the departure went, at its end; nil before
}

// LiveConnections is an Event: how many WebSockets, event streams and other
// upgraded connections of HTTP/1 a server has, and what has become of others. It
// is told at most every two seconds, when a number has changed, and at the end of
// the drain.
type LiveConnections struct {
	Server string
	Live   conns.Live
}

// TaskEnded is an Event: a task returned while the service goes on.
type TaskEnded struct {
	Task string
	Err  error
}

// HandoverStep is an Event: progress of a handover to a successor that this
// process started itself.
type HandoverStep struct{ Step handover.Step }

// HandoverEnded is an Event: the successor serves, or this process goes on.
type HandoverEnded struct {
	PID    int // of the successor; 0 if there is none
	Report handover.Report
}

// SuccessorLost is an Event: a successor that was given up has ended since, and
// not in order.
type SuccessorLost struct {
	PID  int
	Lost []handover.Lost
	More int // that many more are not named
}

// Reloaded is an Event: the reload functions have run.
type Reloaded struct{ Err error }

// Goroutines is an Event: the stacks of all goroutines, asked for with SIGQUIT.
type Goroutines struct{ Stacks string }

// Problem is an Event: something could not be done, and the service goes on.
type Problem struct{ Err error }

// Reported is an Event, the last one: the account of the whole leaving.
type Reported struct{ Report Report }

func (PhaseChanged) isEvent()     {}
func (Listening) isEvent()        {}
func (CheckFailed) isEvent()      {}
func (SignalReceived) isEvent()   {}
func (StepEnded) isEvent()        {}
func (Waiting) isEvent()          {}
func (ConnectionCut) isEvent()    {}
func (ConnectionsMoved) isEvent() {}
func (LiveConnections) isEvent()  {}
func (TaskEnded) isEvent()        {}
func (HandoverStep) isEvent()     {}
func (HandoverEnded) isEvent()    {}
func (SuccessorLost) isEvent()    {}
func (Reloaded) isEvent()         {}
func (Goroutines) isEvent()       {}
func (Problem) isEvent()          {}
func (Reported) isEvent()         {}

func (e PhaseChanged) String() string {
	return e.To.String() + because(e.Reason)
}

func (e Listening) String() string {
	if e.Inherited {
		return fmt.Sprintf("%s: serving %s (inherited)", e.Server, e.Addr)
	}
	return fmt.Sprintf("%s: serving %s", e.Server, e.Addr)
}

func (e CheckFailed) String() string {
	return fmt.Sprintf("waiting for check %q: %v", e.Check, e.Err)
}

func (e SignalReceived) String() string { return fmt.Sprintf("%s: %s", e.Signal, e.Meaning) }

func (e StepEnded) String() string { return e.Step.String() }

func (e Waiting) String() string {
	return fmt.Sprintf("waiting for %d requests and %d idle of %d connections, at most %v longer", e.Requests, e.Idle, e.Connections, e.Left.Round(time.Second))
}

func (e ConnectionCut) String() string {
	c := e.Cut
	return strings.Join(strings.Fields(fmt.Sprintf("cut %s connection of %s: %s %s %s (%v old)",
		c.Kind, c.Remote, c.Reason, c.Method, c.Path, c.Age.Round(time.Millisecond))), " ")
}

func (e ConnectionsMoved) String() string {
	switch {
	case e.Move != nil && e.Move.String() != "":
		return e.Move.String()
	case e.Arrived > 0:
		return "took over " + plural(e.Arrived, "connection")
	}
	return plural(e.Departed, "connection") + " moved"
}

func (e LiveConnections) String() string {
	return e.Server + ": live connections: " + liveText(e.Live)
}

func (e TaskEnded) String() string {
	if e.Err != nil {
		return fmt.Sprintf("task %q ended: %v", e.Task, e.Err)
	}
	return fmt.Sprintf("task %q ended", e.Task)
}

func (e HandoverStep) String() string {
	if !e.Step.Ended {
		return fmt.Sprintf("handover: %s …", e.Step.Name)
	}
	return fmt.Sprintf("handover: %s %v%s%s", e.Step.Name, e.Step.Took.Round(time.Millisecond), because(e.Step.Note), because(e.Step.Error))
}

func (e HandoverEnded) String() string {
	if e.PID != 0 {
		return fmt.Sprintf("handover: done, process %d serves", e.PID)
	}
	return fmt.Sprintf("handover: %s%s; this process goes on", e.Report.Outcome, because(e.Report.Reason)) + lostLines(e.Report.Lost, e.Report.LostMore)
}

func (e SuccessorLost) String() string {
	return fmt.Sprintf("handover: process %d, which was given up, has ended with connections open", e.PID) + lostLines(e.Lost, e.More)
}

// lostLines names what was lost with a successor, a line each. Connections
// without a request share one: what was lost on them is unknown, and may be
// nothing.
func lostLines(lost []handover.Lost, more int) string {
	var b strings.Builder
	var quiet []string
	for _, l := range lost {
		if !l.Request() {
			quiet = append(quiet, l.Remote)
			continue
		}
		b.WriteString("\n  " + strings.Join(strings.Fields(fmt.Sprintf("lost %s request of %s: %s %s (%v old)",
			l.Kind, l.Remote, l.Method, l.Path, l.Age.Round(time.Millisecond))), " "))
	}
	if len(quiet) > 0 {
		fmt.Fprintf(&b, "\n  lost connections without a request: %s", strings.Join(quiet, ", "))
	}
	if more > 0 {
		fmt.Fprintf(&b, "\n  and %d more that could not be named", more)
	}
	return b.String()
}

func (e Reloaded) String() string {
	if e.Err != nil {
		return fmt.Sprintf("not reloaded: %v", e.Err)
	}
	return "reloaded"
}

func (e Goroutines) String() string { return "goroutines:\n" + e.Stacks }
func (e Problem) String() string    { return e.Err.Error() }
func (e Reported) String() string   { return e.Report.String() }

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
