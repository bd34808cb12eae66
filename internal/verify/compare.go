package verify

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Comparison is what the two ledgers say about each other.
type Comparison struct {
	// Applied is the number of different ids of this run the service recorded.
	Applied int `json:"applied"`
	// Twice were recorded more than once.
	Twice int `json:"applied_twice"`
	// Phantom were applied although the client saw an error.
	Phantom int `json:"applied_but_error"`
	// Missing were answered well although the service has no record of them.
	Missing int `json:"acknowledged_not_applied"`
	// Stray ids belong to this run, but it never sent them.
	Stray int `json:"stray"`
	// Torn lines of the file are no records.
	Torn int `json:"torn"`
	// Examples has some ids of each of the above, by the name of its JSON field.
	Examples map[string][]string `json:"examples,omitempty"`
	// Processes is how many ids each process applied: "pid/generation".
	Processes map[string]int `json:"processes"`
}

// Compare reads the service's ledger at path. It is meant for after Stop, when
// no fate is open any more, and refuses to guess before.
func (r *Run) Compare(path string) (*Comparison, error) {
	return r.CompareWith(func(yield func(Entry)) (int, error) { return ReadApplied(path, yield) })
}

// CompareWith is Compare for a service that keeps its ledger in its own way, a
// table of its database for example: read yields every entry and returns how
// many were unreadable. Entries of other runs are ignored.
func (r *Run) CompareWith(read func(yield func(Entry)) (torn int, err error)) (*Comparison, error) {
	r.mu.Lock()
	stopped := r.ended > 0
	r.mu.Unlock()
	if !stopped {
		return nil, errors.New("compare ledgers: requests are in flight: Stop the run first")
	}
	ledgers := make(map[string]*ledger)
	for _, l := range r.ledgers {
		ledgers[l.kind] = l
	}
	c := &Comparison{Examples: make(map[string][]string), Processes: make(map[string]int)}
	type key struct {
		l           *ledger
		worker, seq int
	}
	times := make(map[key]int)
	torn, err := read(func(e Entry) {
		id, ok := parseIdent(e.ID)
		if !ok || id.run != r.name {
			return
		}
		l := ledgers[id.kind]
		if l == nil || l.fateOf(id.worker, id.seq) == pending {
			c.note(&c.Stray, "stray", id)
			return
		}
		times[key{l, id.worker, id.seq}]++
		if e.PID != 0 { // 0: read does not know
			c.Processes[fmt.Sprintf("%d/%s", e.PID, e.Generation)]++
		}
	})
	if err != nil {
		return nil, err
	}
	c.Torn, c.Applied = torn, len(times)
	for _, l := range r.ledgers {
		for worker, fates := range l.fates {
			for seq, f := range fates {
				id, n := ident{r.name, l.kind, worker, seq}, times[key{l, worker, seq}]
				if n > 1 {
					c.note(&c.Twice, "applied_twice", id)
				}
				if n > 0 && (f == lost || f == lostUnrecorded) {
					c.note(&c.Phantom, "applied_but_error", id)
				}
				if n == 0 && f == acked {
					c.note(&c.Missing, "acknowledged_not_applied", id)
				}
			}
		}
	}
	return c, nil
}

func (c *Comparison) note(n *int, what string, id ident) {
	if *n++; *n <= DefaultExamples {
		c.Examples[what] = append(c.Examples[what], id.String())
	}
}

// Err is nil when the ledgers agree.
func (c *Comparison) Err() error {
	var wrong []string
	for _, w := range []struct {
		n    int
		what string
		key  string
	}{
		{c.Twice, "applied twice", "applied_twice"},
		{c.Phantom, "applied but the client saw an error", "applied_but_error"},
		{c.Missing, "acknowledged but not applied", "acknowledged_not_applied"},
		{c.Stray, "applied but never sent", "stray"},
		{c.Torn, "unreadable lines in the service's ledger", ""},
	} {
		if w.n > 0 {
			wrong = append(wrong, strings.TrimSpace(fmt.Sprintf("%d %s %s", w.n, w.what, strings.Join(c.Examples[w.key], " "))))
		}
	}
	if wrong == nil {
		return nil
	}
	return errors.New(strings.Join(wrong, "\n"))
}

// processes lists who applied how many, in a stable order.
func (c *Comparison) processes() string {
	var s []string
	for _, p := range slices.Sorted(maps.Keys(c.Processes)) {
		s = append(s, fmt.Sprintf("%s: %d", p, c.Processes[p]))
	}
	return strings.Join(s, ", ")
}
