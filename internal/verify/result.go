package verify

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Result is the account of a run, or of a run so far. Durations are in
// nanoseconds when it is written as JSON.
type Result struct {
	Run   string        `json:"run"`
	Seed  uint64        `json:"seed"`
	Began time.Time     `json:"began"`
	Took  time.Duration `json:"took_ns"`
	// Total sums up the kinds.
	Total   KindResult     `json:"total"`
	Kinds   []KindResult   `json:"kinds"`
	Windows []WindowResult `json:"windows,omitempty"`
	// Service is the comparison with the service's ledger, where the caller has
	// made one: without it nobody knows what was applied twice.
	Service *Comparison `json:"service,omitempty"`
}

// KindResult is the account of one kind.
type KindResult struct {
	Kind     string        `json:"kind"`
	Sent     int           `json:"sent"`
	OK       int           `json:"ok"`
	InFlight int           `json:"in_flight"` // 0 after Stop
	Lost     int           `json:"lost"`
	Causes   map[Cause]int `json:"causes,omitempty"`
	Examples []Example     `json:"examples,omitempty"`
	// Bound is what can be said of zero losses among so many: with 95%
	// confidence fewer than this share is lost (the rule of three). 0 when
	// something was lost, or nothing was sent.
	Bound float64 `json:"bound,omitempty"`
	// Connections made: a worker's first ones, those after an announcement, and
	// those after a connection that ended without one.
	Connects int `json:"connects"`
	Asked    int `json:"reconnects_asked"`
	Unasked  int `json:"reconnects_unasked"`
	// Latency of the requests that were answered, apart for those that were
	// under way within a window and those that were not.
	Steady Latency `json:"steady"`
	During Latency `json:"during"`
	// Silence is the longest time without a good answer.
	Silence time.Duration `json:"silence_ns"`
	// Behind is the longest time a request was sent after it was due.
	Behind time.Duration `json:"behind_ns"`
}

// Latency is exact, not estimated: every request is kept.
type Latency struct {
	N    int           `json:"n"`
	P50  time.Duration `json:"p50_ns"`
	P99  time.Duration `json:"p99_ns"`
	P999 time.Duration `json:"p999_ns"`
	Max  time.Duration `json:"max_ns"`
}

// WindowResult is what went on within one marked stretch of time.
type WindowResult struct {
	Name string    `json:"name"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// InFlight is the number of requests under way in it, by kind; Lost those
	// of them that were lost.
	InFlight map[string]int `json:"in_flight"`
	Lost     int            `json:"lost"`
}

// Snapshot is the result so far. It goes through all requests: a few times a
// second is fine, for a progress display there is Counts.
func (r *Run) Snapshot() Result {
	r.mu.Lock()
	windows := slices.Clone(r.windows)
	took := r.ended
	r.mu.Unlock()
	if took == 0 {
		took = time.Since(r.began)
	}
	res := Result{Run: r.name, Seed: r.o.Seed, Began: r.began, Took: took}
	for _, w := range windows {
		res.Windows = append(res.Windows, WindowResult{Name: w.name,
			From: r.began.Add(w.from), To: r.began.Add(w.to), InFlight: make(map[string]int)})
	}
	var all []span
	total := KindResult{Kind: "total", Causes: make(map[Cause]int)}
	for _, l := range r.ledgers {
		k, spans := l.result()
		k.measure(spans, windows, took)
		res.Kinds = append(res.Kinds, k)
		total.add(k)
		all = append(all, spans...)
		for i, w := range windows {
			res.Windows[i].InFlight[k.Kind] = l.during(w.from, w.to)
			for _, s := range spans {
				if !s.ok && s.touches(w) {
					res.Windows[i].Lost++
				}
			}
		}
	}
	total.measure(all, windows, took)
	res.Total = total
	return res
}

// result is the countable part of the account, and the spans to measure. The
// spans returned never change: the ledger only appends.
func (l *ledger) result() (KindResult, []span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := KindResult{
		Kind: l.kind, Sent: l.sent, OK: l.ok, InFlight: len(l.active),
		Causes:   maps.Clone(l.lost),
		Connects: l.connects[First] + l.connects[Asked] + l.connects[Unasked],
		Asked:    l.connects[Asked], Unasked: l.connects[Unasked], Behind: l.behind,
	}
	for _, cause := range slices.Sorted(maps.Keys(l.samples)) {
		k.Examples = append(k.Examples, l.samples[cause]...)
	}
	return k, l.spans[:len(l.spans):len(l.spans)]
}

func (k *KindResult) add(o KindResult) {
	k.Sent += o.Sent
	k.OK += o.OK
	k.InFlight += o.InFlight
	k.Connects += o.Connects
	k.Asked += o.Asked
	k.Unasked += o.Unasked
	k.Behind = max(k.Behind, o.Behind)
	for cause, n := range o.Causes {
		k.Causes[cause] += n
	}
}

func (s span) touches(w window) bool { return s.due <= w.to && s.end >= w.from }

// measure fills in what follows from the spans.
func (k *KindResult) measure(spans []span, windows []window, took time.Duration) {
	k.Lost = k.Sent - k.OK - k.InFlight
	if k.Lost == 0 && k.Sent > 0 {
		k.Bound = min(3/float64(k.Sent), 1)
	}
	var steady, during, ends []time.Duration
	var last time.Duration // that it was heard of at all: the others may have gone on after its Stop
	for _, s := range spans {
		last = max(last, s.end)
		if !s.ok {
			continue
		}
		ends = append(ends, s.end)
		if slices.ContainsFunc(windows, s.touches) {
			during = append(during, s.end-s.due)
		} else {
			steady = append(steady, s.end-s.due)
		}
	}
	k.Steady, k.During = latency(steady), latency(during)
	slices.Sort(ends)
	k.Silence = took
	if len(ends) > 0 {
		k.Silence = max(ends[0], last-ends[len(ends)-1])
		for i := 1; i < len(ends); i++ {
			k.Silence = max(k.Silence, ends[i]-ends[i-1])
		}
	}
}

func latency(d []time.Duration) Latency {
	if len(d) == 0 {
		return Latency{}
	}
	slices.Sort(d)
	// Nearest rank: the smallest value that at least the share q does not exceed.
	at := func(perMille int) time.Duration { return d[max((len(d)*perMille+999)/1000, 1)-1] }
	return Latency{N: len(d), P50: at(500), P99: at(990), P999: at(999), Max: d[len(d)-1]}
}

// Err is nil when nothing was lost, every kind was sent, and the service's
// ledger, if it was compared, agrees. Otherwise it says what is wrong.
func (r Result) Err() error {
	var wrong []string
	for _, k := range r.Kinds {
		if k.Sent == 0 {
			wrong = append(wrong, k.Kind+": nothing was sent, so nothing is proven")
		}
		if k.Lost > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: %d of %d lost (%s)", k.Kind, k.Lost, k.Sent, k.causes()))
			for _, e := range k.Examples {
				wrong = append(wrong, fmt.Sprintf("  %s from %s at %s: %s", e.ID, e.Local, e.At.Format("15:04:05.000"), e.Detail))
			}
		}
	}
	if r.Service != nil {
		if err := r.Service.Err(); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	if wrong == nil {
		return nil
	}
	return errors.New(strings.Join(wrong, "\n"))
}

func (k KindResult) causes() string {
	var s []string
	for _, cause := range slices.Sorted(maps.Keys(k.Causes)) {
		s = append(s, fmt.Sprintf("%s %d", cause, k.Causes[cause]))
	}
	return strings.Join(s, ", ")
}
