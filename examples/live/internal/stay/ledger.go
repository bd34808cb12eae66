package stay

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// Ledger is what the clients of a run have found.
type Ledger struct {
	Seed     uint64   `json:"seed"`
	Kinds    []Count  `json:"kinds"`
	Examples []string `json:"examples,omitempty"` // of what went wrong, the first few
}

// Count is of one kind of client.
type Count struct {
	Kind       string        `json:"kind"`
	Clients    int           `json:"clients"`
	Sent       int           `json:"sent"`       // messages and requests
	Received   int           `json:"received"`   // echoes, events and answers that were as they should be
	Lost       int           `json:"lost"`       // never came
	Duplicated int           `json:"duplicated"` // came again
	Reordered  int           `json:"reordered"`  // came after something that is after it
	Wrong      int           `json:"wrong"`      // came, and was not what was asked for
	Closed     int           `json:"closed"`     // connections that ended without a word
	Told       int           `json:"told"`       // WebSockets that got 1012, streams that got retry:
	Goodbyes   int           `json:"goodbyes"`   // answers that said Connection: close
	Reconnects int           `json:"reconnects"` // only requests connect again, after any of these ends
	Longest    time.Duration `json:"longest_ns"` // pause of any client
	Typical    time.Duration `json:"typical_ns"` // longest pause of the median client
}

// Kind returns the count of a kind, zero if there is none.
func (l Ledger) Kind(name string) Count {
	i := slices.IndexFunc(l.Kinds, func(c Count) bool { return c.Kind == name })
	if i < 0 {
		return Count{}
	}
	return l.Kinds[i]
}

// Stayed is nil if no client of any kind has noticed anything.
func (l Ledger) Stayed() error {
	for _, c := range l.Kinds {
		if c.Lost+c.Duplicated+c.Reordered+c.Wrong+c.Closed+c.Told+c.Goodbyes+c.Reconnects > 0 {
			return fmt.Errorf("%+v; seed %d; %q", c, l.Seed, l.Examples)
		}
	}
	return nil
}

// Table writes the ledger for people.
func (l Ledger) Table(to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "kind\tclients\tsent\treceived\tlost\tdup\treord\twrong\tclosed\ttold\tgoodbye\treconn\tlongest\ttypical\t")
	for _, c := range l.Kinds {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t\n", c.Kind, c.Clients, c.Sent, c.Received,
			c.Lost, c.Duplicated, c.Reordered, c.Wrong, c.Closed, c.Told, c.Goodbyes, c.Reconnects, ms(c.Longest), ms(c.Typical))
	}
	w.Flush()
	fmt.Fprintf(to, "longest, typical: the longest pause of any client, and of the median client, in ms; seed %d\n", l.Seed)
	for _, e := range l.Examples {
		fmt.Fprintln(to, "  "+e)
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

const maxExamples = 20

// tally is the count of a kind while it grows.
type tally struct {
	mu       sync.Mutex
	count    Count
	pauses   []time.Duration // the longest, by client
	examples *examples
}

func (t *tally) add(change func(*Count)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.count)
}

func (t *tally) paused(client int, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pauses[client] = max(t.pauses[client], d)
}

func (t *tally) now() Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.count
	if p := slices.Sorted(slices.Values(t.pauses)); len(p) > 0 {
		c.Longest, c.Typical = p[len(p)-1], p[len(p)/2]
	}
	return c
}

// examples are of a whole run.
type examples struct {
	mu   sync.Mutex
	said []string
}

func (e *examples) add(s string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.said) < maxExamples {
		e.said = append(e.said, time.Now().Format("05.000 ")+s)
	}
}

func (e *examples) list() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.said)
}
