package verify

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// Defaults of Options.
const (
	DefaultTimeout  = 30 * time.Second
	DefaultExamples = 5
)

// Load is one kind of traffic.
type Load struct {
	Kind Kind
	// Name replaces the kind's own, when one kind is used on several targets.
	Name string
	// Target replaces that of the Options.
	Target *Target
	// Workers send at the same time; 0 means 1.
	Workers int
	// Rate is in requests per second over all workers, sent on a schedule made
	// beforehand. 0 means that each worker sends its next request as soon as it
	// has the answer, after Think.
	Rate  float64
	Think time.Duration
}

// Options of a Run. Target and Loads are required.
type Options struct {
	Target Target
	Loads  []Load
	// Seed makes a run repeatable; 0 takes one from the clock.
	Seed uint64
	// Timeout bounds each request; 0 means DefaultTimeout.
	Timeout time.Duration
	// Examples of losses kept per kind and cause; 0 means DefaultExamples.
	Examples int
}

// Workers whose requests are answered by what others do (a stream of orders
// needs somebody who orders) leave first, while there is something to hear.
const (
	listeners = iota
	askers
)

// Run is traffic under way. Its methods may be called concurrently.
type Run struct {
	o       Options
	name    string // first part of every id
	began   time.Time
	ctx     context.Context // ends with the caller's: requests in flight are aborted
	cancel  context.CancelFunc
	once    sync.Once
	leave   [2]chan struct{}  // closed by Stop, the listeners' first: no new request
	wg      [2]sync.WaitGroup // one goroutine per worker
	senders []Sender
	ledgers []*ledger // one per load

	mu      sync.Mutex
	windows []window
	ended   time.Duration
	changed chan struct{} // closed and replaced whenever a count changes
}

// Start begins the traffic. The run ends with Stop, which must be called; if
// ctx ends before, requests in flight are cut and counted as Aborted.
func Start(ctx context.Context, o Options) (*Run, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Examples == 0 {
		o.Examples = DefaultExamples
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano())
	}
	o.Loads = append([]Load(nil), o.Loads...)
	r := &Run{o: o, began: time.Now(), changed: make(chan struct{})}
	r.leave = [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	// The seed repeats when a run is repeated, the ids must not: the service's
	// ledger may still hold those of the run before.
	r.name = fmt.Sprintf("r%x", uint64(r.began.UnixNano())&0xffffffffffff)
	type work struct {
		load   Load
		ledger *ledger
		sender Sender
		worker int
	}
	var works []work
	seen := make(map[string]bool)
	for _, l := range o.Loads {
		senders, err := l.open(o.Target)
		r.senders = append(r.senders, senders...)
		if err == nil && seen[l.name()] {
			err = fmt.Errorf("two loads are called %q: give one a Name", l.name())
		}
		if err != nil {
			r.closeSenders()
			return nil, fmt.Errorf("start run: %w", err)
		}
		seen[l.name()] = true
		led := newLedger(l.name(), len(senders), o.Examples)
		r.ledgers = append(r.ledgers, led)
		for i, s := range senders {
			works = append(works, work{l, led, s, i})
		}
	}
	if len(works) == 0 {
		return nil, errors.New("start run: no loads are given, so nothing would be sent")
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	for _, w := range works {
		crowd := askers
		if _, ok := w.load.Kind.(interface{ Listens() }); ok {
			crowd = listeners
		}
		r.wg[crowd].Go(func() { r.work(w.load, w.ledger, w.sender, w.worker, r.leave[crowd]) })
	}
	return r, nil
}

func (l Load) name() string {
	if l.Name != "" {
		return l.Name
	}
	return l.Kind.Name()
}

func (l Load) open(t Target) ([]Sender, error) {
	if l.Kind == nil {
		return nil, fmt.Errorf("load %q has no Kind", l.Name)
	}
	if !validName(l.name()) {
		return nil, fmt.Errorf("%q cannot be the name of a load: use letters, digits, '-', '.' and '_'", l.name())
	}
	if l.Target != nil {
		t = *l.Target
	}
	return l.Kind.Open(t, max(l.Workers, 1))
}

// work is one worker.
func (r *Run) work(l Load, led *ledger, s Sender, worker int, leave <-chan struct{}) {
	h := fnv.New64a()
	h.Write([]byte(led.kind))
	rnd := rand.New(rand.NewPCG(r.o.Seed, h.Sum64()+uint64(worker)))
	next := schedule(l, worker, rnd)
	for seq := 0; ; seq++ {
		due := next(time.Since(r.began))
		if !r.sleepUntil(due, leave) {
			return
		}
		req := &Request{ID: ident{r.name, led.kind, worker, seq}.String(), Worker: worker, Seq: seq, Rand: rnd}
		led.begin(req, due, time.Since(r.began))
		r.notify()
		ctx, cancel := context.WithTimeout(r.ctx, r.o.Timeout)
		err := s.Send(ctx, req)
		cancel()
		if err != nil && r.ctx.Err() != nil {
			err = &Loss{Cause: Aborted, Err: err}
		}
		led.finish(req, due, time.Since(r.began), r.began, err)
		r.notify()
	}
}

// schedule returns a function from now to when the next request is due.
func schedule(l Load, worker int, rnd *rand.Rand) func(now time.Duration) time.Duration {
	if l.Rate <= 0 {
		first := true
		return func(now time.Duration) time.Duration {
			if first {
				first = false
				return now
			}
			return now + l.Think
		}
	}
	workers := max(l.Workers, 1)
	interval := time.Duration(float64(workers) / l.Rate * float64(time.Second))
	slot := interval * time.Duration(worker) / time.Duration(workers)
	n := time.Duration(-1)
	return func(time.Duration) time.Duration {
		n++
		// Jitter within the worker's own interval: a strict beat could stay
		// in step with the restarts and never meet one.
		return slot + n*interval + time.Duration(rnd.Int64N(int64(interval)/2+1))
	}
}

// sleepUntil reports false when the run is stopping.
func (r *Run) sleepUntil(due time.Duration, leave <-chan struct{}) bool {
	select {
	case <-leave:
		return false
	case <-r.ctx.Done():
		return false
	default:
	}
	d := due - time.Since(r.began)
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-leave:
	case <-r.ctx.Done():
	}
	return false
}

// Stop sends nothing new, waits until every request in flight has ended (at
// most Options.Timeout), joins all goroutines, closes the connections and
// returns the result. A second Stop returns the same.
func (r *Run) Stop() Result {
	r.once.Do(func() {
		for _, crowd := range []int{listeners, askers} {
			close(r.leave[crowd])
			r.wg[crowd].Wait()
		}
		r.mu.Lock()
		r.ended = time.Since(r.began)
		r.mu.Unlock()
		r.cancel()
		r.closeSenders()
		r.notify()
	})
	return r.Snapshot()
}

func (r *Run) closeSenders() {
	for _, s := range r.senders {
		s.Close()
	}
}
