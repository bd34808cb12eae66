package segue

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segue-go/segue/conns"
)

// Step is one bounded piece of a start or a leaving.
type Step struct {
	Name   string        `json:"name"`
	Took   time.Duration `json:"took_ns"`
	Budget time.Duration `json:"budget_ns,omitempty"` // 0: unbounded or instantaneous
	Error  string        `json:"error,omitempty"`
}

// String is one line for people.
func (s Step) String() string {
	line := fmt.Sprintf("%s %v", s.Name, s.Took.Round(time.Millisecond))
	if s.Budget > 0 {
		line += fmt.Sprintf(" of %v", s.Budget)
	}
	return line + because(s.Error)
}

// Report is the account of one leaving: why, what each step took, what was
// finished and what was cut. It holds no query strings, bodies or headers.
type Report struct {
	Service    string        `json:"service"`
	Generation int           `json:"generation,omitempty"`
	PID        int           `json:"pid"`
	Reason     string        `json:"reason"`
	Successor  bool          `json:"successor"` // another generation serves
	Forced     bool          `json:"forced"`    // a second signal cut it short
	Took       time.Duration `json:"took_ns"`
	Steps      []Step        `json:"steps"`
	InFlight   int           `json:"in_flight"` // requests under way when the leaving began
	Finished   int           `json:"finished"`  // of which were answered in full
	Cut        []conns.Cut   `json:"cut,omitempty"`
	CutMore    int           `json:"cut_more,omitempty"` // not named, for want of space on the wire to the supervisor
	Stacks     string        `json:"stacks,omitempty"`   // of handlers that ignored the end of their request
}

// String is the report for people, several lines.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "left in %v (%s): %d in flight, %d finished, %d cut", r.Took.Round(time.Millisecond), r.Reason, r.InFlight, r.Finished, len(r.Cut))
	for _, s := range r.Steps {
		if s.Error != "" {
			fmt.Fprintf(&b, "\n  %s", s)
		}
	}
	for _, c := range r.Cut {
		fmt.Fprintf(&b, "\n  %s", ConnectionCut{c})
	}
	if r.Stacks != "" {
		fmt.Fprintf(&b, "\n  handlers that did not return:\n%s", r.Stacks)
	}
	return b.String()
}

// less is the report with half of everything that can make it long; the counts
// stay.
func (r Report) less() Report {
	r.CutMore += len(r.Cut) - len(r.Cut)/2
	r.Reason = r.Reason[:len(r.Reason)/2]
	r.Cut = r.Cut[:len(r.Cut)/2]
	r.Stacks = r.Stacks[:len(r.Stacks)/2]
	r.Steps = slices.Clone(r.Steps[:len(r.Steps)/2])
	for i, s := range r.Steps {
		r.Steps[i].Error = s.Error[:len(s.Error)/2]
	}
	return r
}
