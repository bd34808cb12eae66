package verify

import (
	"context"
	"errors"
	"sync"
	"time"
)

// fate is what became of one request. The ledger keeps one per request.
type fate byte

const (
	pending fate = iota
	acked
	lost
	ackedUnrecorded // acked, and the service keeps no record of its kind
	lostUnrecorded
)

// span is when one request was under way, as offsets from the run's begin.
// Latency counts from due, when the request should have been sent: a service
// that stalls cannot hide the requests it kept from being sent.
type span struct {
	due, sent, end time.Duration
	ok             bool
}

// Example is one loss, for a person to look into.
type Example struct {
	ID     string    `json:"id"`
	Kind   string    `json:"kind"`
	Cause  Cause     `json:"cause"`
	Detail string    `json:"detail"`
	Sent   time.Time `json:"sent"`
	At     time.Time `json:"at"`
	Local  string    `json:"local,omitempty"`
}

// ledger is the client's account of one kind. Spans and fates are only ever
// appended to or, for fates, decided once.
type ledger struct {
	kind     string
	examples int // per cause

	mu       sync.Mutex
	active   map[*Request]time.Duration // sent at
	spans    []span
	fates    [][]fate // by worker and seq
	sent, ok int
	lost     map[Cause]int
	samples  map[Cause][]Example
	connects [3]int
	behind   time.Duration
}

func newLedger(kind string, workers, examples int) *ledger {
	return &ledger{
		kind: kind, examples: examples,
		active:  make(map[*Request]time.Duration),
		fates:   make([][]fate, workers),
		lost:    make(map[Cause]int),
		samples: make(map[Cause][]Example),
	}
}

func (l *ledger) begin(r *Request, due, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	l.active[r] = now
	l.fates[r.Worker] = append(l.fates[r.Worker], pending)
	l.behind = max(l.behind, now-due)
}

func (l *ledger) finish(r *Request, due, end time.Duration, began time.Time, err error) {
	r.mu.Lock()
	local, connects, unrecorded := r.local, r.connects, r.unrecorded
	r.mu.Unlock()

	l.mu.Lock()
	defer l.mu.Unlock()
	sent := l.active[r]
	delete(l.active, r)
	l.spans = append(l.spans, span{due: due, sent: sent, end: end, ok: err == nil})
	for why, n := range connects {
		l.connects[why] += n
	}
	f := &l.fates[r.Worker][r.Seq]
	switch {
	case err == nil && unrecorded:
		*f = ackedUnrecorded
	case err == nil:
		*f = acked
	case unrecorded:
		*f = lostUnrecorded
	default:
		*f = lost
	}
	if err == nil {
		l.ok++
		return
	}
	cause := causeOf(err)
	l.lost[cause]++
	if len(l.samples[cause]) < l.examples {
		l.samples[cause] = append(l.samples[cause], Example{
			ID: r.ID, Kind: l.kind, Cause: cause, Detail: err.Error(),
			Sent: began.Add(sent), At: began.Add(end), Local: local,
		})
	}
}

func causeOf(err error) Cause {
	var l *Loss
	switch {
	case errors.As(err, &l):
		return l.Cause
	case errors.Is(err, context.Canceled):
		return Aborted
	case isTimeout(err):
		return Timeout
	}
	return Other
}

func (l *ledger) counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Counts{Sent: l.sent, OK: l.ok, InFlight: len(l.active)}
	c.Lost = c.Sent - c.OK - c.InFlight
	return c
}

// during counts the requests that were in flight at some moment of [from, to].
func (l *ledger) during(from, to time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.spans {
		if s.sent <= to && s.end >= from {
			n++
		}
	}
	for _, sent := range l.active {
		if sent <= to {
			n++
		}
	}
	return n
}

// fateOf is the fate of one id; pending when it was never sent.
func (l *ledger) fateOf(worker, seq int) fate {
	if worker < len(l.fates) && seq < len(l.fates[worker]) {
		return l.fates[worker][seq]
	}
	return pending
}
