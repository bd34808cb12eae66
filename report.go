package segue

import (
	"cmp"
	"fmt"
	"maps"
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

	Move                    // to the successor
	Goodbyes map[string]int `json:"goodbyes,omitempty"` // connections that were told to come back, by the reason why
}

// Move is the account of live connections that went to another process.
type Move struct {
	Moved        map[string]int `json:"moved,omitempty"`            // those that did, by kind
	Stayed       map[string]int `json:"stayed,omitempty"`           // those that did not, by the reason why
	MoveTook     time.Duration  `json:"move_took_ns,omitempty"`     // 0: there was none
	LongestPause time.Duration  `json:"longest_pause_ns,omitempty"` // in which one of them was not served
	MoveFailure  string         `json:"move_failure,omitempty"`     // why it ended early: what had not moved by then stayed
}

// Most that a report has of different reasons, and of the text of one.
const (
	maxReasons = 32
	maxReason  = 200
)

// String is one line for people; "" if there was no connection to move.
func (m Move) String() string {
	if len(m.Moved)+len(m.Stayed) == 0 {
		return ""
	}
	line := fmt.Sprintf("moved %s in %v", plural(total(m.Moved), "connection"), m.MoveTook.Round(time.Millisecond))
	if len(m.Moved) > 0 {
		line = fmt.Sprintf("moved %s (%s) in %v, longest pause %v", plural(total(m.Moved), "connection"), counts(m.Moved),
			m.MoveTook.Round(time.Millisecond), m.LongestPause.Round(time.Millisecond))
	}
	if len(m.Stayed) > 0 {
		line += fmt.Sprintf("; %d stayed: %s", total(m.Stayed), reasons(m.Stayed))
	}
	if m.MoveFailure != "" {
		line += "; it ended early: " + oneLine(m.MoveFailure)
	}
	return line
}

// add counts n more under key. Reasons quote what others wrote: they must not
// make a report of any size.
func add(to *map[string]int, key string, n int) {
	key = brief(key)
	if *to == nil {
		*to = map[string]int{}
	}
	if _, known := (*to)[key]; !known && len(*to) >= maxReasons {
		key = "other reasons"
	}
	(*to)[key] += n
}

// brief is the beginning of a reason that another process gave.
func brief(reason string) string {
	return strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
}

func total(m map[string]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}

// counts lists what was counted by kind.
func counts(m map[string]int) string {
	keys := ranked(m)
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%d %s", m[k], k)
	}
	return strings.Join(keys, ", ")
}

// reasons lists what was counted by reason.
func reasons(m map[string]int) string {
	keys := ranked(m)
	for i, k := range keys {
		if len(keys) > 1 {
			keys[i] = fmt.Sprintf("%s (%d)", k, m[k])
		}
	}
	return strings.Join(keys, ", ")
}

// ranked is the keys, the most frequent first.
func ranked(m map[string]int) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
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
	if line := r.Move.String(); line != "" {
		fmt.Fprintf(&b, "\n  %s", line)
	}
	if len(r.Goodbyes) > 0 {
		fmt.Fprintf(&b, "\n  told %s to come back: %s", plural(total(r.Goodbyes), "client"), reasons(r.Goodbyes))
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
