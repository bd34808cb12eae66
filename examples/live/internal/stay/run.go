package stay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Options of a run.
type Options struct {
	Seed  uint64 // 0: one is chosen
	Loads []Load
}

// Load is clients of one kind.
type Load struct {
	Name    string
	Target  Target
	Kind    Kind
	Clients int
	Every   time.Duration // between two messages of one client; those that only listen ignore it
}

// Kind is what a client does.
type Kind interface {
	// open connects and has the first answer.
	open(c *client) error
	// stay goes on until c.run.sending ends and what was sent has been answered.
	stay(c *client)
}

// settleTimeout is how long, at the end, what is missing may still come.
const settleTimeout = 15 * time.Second

// Run is clients at work.
type Run struct {
	seed     uint64
	tallies  []*tally
	examples examples

	sending context.Context // ends first
	stop    context.CancelFunc
	settled chan struct{} // closed when nobody publishes or says anything any more
	senders sync.WaitGroup
	all     sync.WaitGroup
	once    sync.Once

	mu        sync.Mutex
	published map[string]int // by topic or room
}

// Start has every client of every load connected and answered once, or returns
// the first error. Stop must be called if it returns none.
func Start(o Options) (*Run, error) {
	r := &Run{seed: o.Seed, settled: make(chan struct{}), published: map[string]int{}}
	for r.seed == 0 {
		r.seed = rand.Uint64()
	}
	r.sending, r.stop = context.WithCancel(context.Background())
	var opening sync.WaitGroup
	var mu sync.Mutex
	var errs error
	var clients []*client
	limit := make(chan struct{}, 32) // at a time: the backlog of a socket is finite
	for i, l := range o.Loads {
		t := &tally{count: Count{Kind: l.Name, Clients: l.Clients}, pauses: make([]time.Duration, l.Clients), examples: &r.examples}
		r.tallies = append(r.tallies, t)
		for n := range l.Clients {
			c := &client{run: r, load: l, n: n, tally: t, rng: rand.New(rand.NewPCG(r.seed, uint64(i)<<32|uint64(n)))}
			clients = append(clients, c)
			opening.Go(func() {
				limit <- struct{}{}
				defer func() { <-limit }()
				if err := l.Kind.open(c); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = errors.Join(errs, fmt.Errorf("%s %d: %w", l.Name, n, err))
				}
			})
		}
	}
	opening.Wait()
	if errs != nil {
		for _, c := range clients {
			c.hangUp()
		}
		r.stop()
		return nil, errs
	}
	for _, c := range clients {
		if _, listens := c.load.Kind.(interface{ listens() }); !listens {
			r.senders.Add(1)
		}
	}
	for _, c := range clients {
		r.all.Go(func() { c.load.Kind.stay(c); c.hangUp() })
	}
	return r, nil
}

// Ledger is what was found so far.
func (r *Run) Ledger() Ledger {
	l := Ledger{Seed: r.seed, Examples: r.examples.list()}
	for _, t := range r.tallies {
		l.Kinds = append(l.Kinds, t.now())
	}
	return l
}

// Stop ends the sending, waits for what is still on its way, and closes every
// connection. It can be called again.
func (r *Run) Stop() Ledger {
	r.once.Do(func() {
		r.stop()
		r.senders.Wait()
		close(r.settled)
		r.all.Wait()
	})
	return r.Ledger()
}

// publishes counts one more event that every subscriber must get.
func (r *Run) publishes(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published[topic]++
}

func (r *Run) total(topic string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.published[topic]
}
