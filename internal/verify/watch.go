package verify

import (
	"context"
	"time"
)

// Counts of one kind at one moment. Sent = OK + Lost + InFlight.
type Counts struct {
	Sent, OK, Lost, InFlight int
}

// window is a stretch of time the caller has marked.
type window struct {
	name     string
	from, to time.Duration
}

// Name is the first part of the ids of this run.
func (r *Run) Name() string { return r.name }

// Seed makes a later run send the same.
func (r *Run) Seed() uint64 { return r.o.Seed }

// Mark names a stretch of time, such as one restart: latencies of requests
// under way in it are reported apart, and requests and losses in it are counted.
func (r *Run) Mark(name string, from, to time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.windows = append(r.windows, window{name, from.Sub(r.began), to.Sub(r.began)})
}

// Counts tells the progress by kind. It is cheap.
func (r *Run) Counts() map[string]Counts {
	m := make(map[string]Counts, len(r.ledgers))
	for _, l := range r.ledgers {
		m[l.kind] = l.counts()
	}
	return m
}

// InFlight is the number of requests under way now, by kind.
func (r *Run) InFlight() map[string]int {
	m := make(map[string]int, len(r.ledgers))
	for _, l := range r.ledgers {
		m[l.kind] = l.counts().InFlight
	}
	return m
}

// InFlightDuring is the number of requests, by kind, that were under way at
// some moment between from and to. Kinds without any are listed with 0; with
// from equal to to it is about that instant.
func (r *Run) InFlightDuring(from, to time.Time) map[string]int {
	m := make(map[string]int, len(r.ledgers))
	for _, l := range r.ledgers {
		m[l.kind] = l.during(from.Sub(r.began), to.Sub(r.began))
	}
	return m
}

// Await returns nil as soon as done approves of the counts, which it is asked
// after every change of them; the context's error if that ends first.
func (r *Run) Await(ctx context.Context, done func(map[string]Counts) bool) error {
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if done(r.Counts()) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// EachSent is a condition for Await: every kind has had n more answers, good or
// bad, than at since (nil: than at the beginning).
func EachSent(n int, since map[string]Counts) func(map[string]Counts) bool {
	return func(now map[string]Counts) bool {
		for kind, c := range now {
			before := since[kind]
			if c.OK+c.Lost < before.OK+before.Lost+n {
				return false
			}
		}
		return true
	}
}

// UnderWay is a condition for Await: each of the kinds named has a request under
// way. It is for kinds that take their time: of quick ones there may never be one
// of each at once.
func UnderWay(kinds ...string) func(map[string]Counts) bool {
	return func(now map[string]Counts) bool {
		for _, k := range kinds {
			if now[k].InFlight == 0 {
				return false
			}
		}
		return true
	}
}

func (r *Run) notify() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}
