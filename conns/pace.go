package conns

import (
	"math/rand/v2"
	"sync"
	"time"
)

// The defaults of a [Pace], and what it falls back to.
const (
	DefaultJitter = 0.2
	DefaultWithin = 15 * time.Second
	leastPerSec   = 50
	mostCatchUp   = 100 * time.Millisecond // that a pacer which was late makes up for
)

// Pace is how fast WebSockets, event streams and other upgraded connections that
// cannot go on elsewhere are told goodbye: each of them comes back, and so does
// its log-in and what it subscribes to. The zero value is a good one.
type Pace struct {
	// PerSecond is how many of them are told in a second. Default 0: as many as it
	// takes to have told all of them Within, but at least 50. One that is smaller
	// than the time allows leaves the rest to be told all at once by Cut.
	PerSecond float64

	// Within is the time in which all are told when PerSecond is 0. Default
	// [DefaultWithin]; never more than half of what is left of the context of
	// Depart when that begins.
	Within time.Duration

	// Jitter is by how much of itself every interval is longer or shorter, at
	// random. Default [DefaultJitter]; negative is none, 1 the most.
	Jitter float64

	// Seed of what is random. Default 0: another one every time.
	Seed uint64
}

// pacer gives each connection its turn to be told. Its goroutine runs as long as
// somebody waits for one.
type pacer struct {
	tell func(turn, *rand.Rand)
	stop <-chan struct{} // closed when nobody is to be told any more

	mu      sync.Mutex
	pace    Pace
	queue   []turn
	running bool
	rng     *rand.Rand // of the goroutine
	due     time.Time  // the next turn; the goroutine's
	rate    float64    // when none was asked for; it only rises, so that the last ones are in time
	until   time.Time  // those who wait are to be told by then
	end     time.Time  // no later than this; zero if it is not known
	told    map[string]int
}

// turn is a connection that has to be told, and why.
type turn struct {
	c      *Conn
	reason string
	limit  bool // it has reached a limit, and the server remains
}

// within has everybody told by d from now at the latest, d being no more than is
// configured.
func (p *pacer) within(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = time.Now().Add(min(max(d, 0), p.span()))
	if p.running && p.end.Before(p.until) {
		p.until = p.end
	}
}

func (p *pacer) span() time.Duration {
	if p.pace.Within > 0 {
		return p.pace.Within
	}
	return DefaultWithin
}

// enlist gives t its turn when those before it have had theirs.
func (p *pacer) enlist(t turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stop:
		return
	default:
	}
	p.queue = append(p.queue, t)
	if p.running {
		return
	}
	p.running, p.until = true, time.Now().Add(p.span())
	if !p.end.IsZero() && p.end.Before(p.until) {
		p.until = p.end
	}
	go p.run()
}

func (p *pacer) run() {
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	if now := time.Now(); p.due.Before(now) {
		p.due = now
	}
	for {
		t, ok := p.next()
		if !ok {
			return
		}
		if !t.c.untold() {
			continue
		}
		alarm.Reset(time.Until(p.due))
		select {
		case <-p.stop:
		case <-alarm.C:
			p.tell(t, p.rng)
			p.schedule()
		}
	}
}

// next takes the first of the queue; false ends the goroutine.
func (p *pacer) next() (turn, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stop:
		p.queue = nil
	default:
	}
	if len(p.queue) == 0 {
		p.running, p.queue, p.rate = false, nil, 0
		return turn{}, false
	}
	if p.rng == nil {
		seed := p.pace.Seed
		if seed == 0 {
			seed = rand.Uint64()
		}
		p.rng = rand.New(rand.NewPCG(seed, seed))
	}
	t := p.queue[0]
	p.queue = p.queue[1:]
	return t, true
}

// schedule sets the next turn. A goroutine that was late catches up, so that
// the rate is kept by a machine whose clock ticks seldom or that is busy.
func (p *pacer) schedule() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	rate := p.pace.PerSecond
	if rate <= 0 {
		left := max(p.until.Sub(now), time.Second)
		p.rate = max(p.rate, leastPerSec, float64(len(p.queue))/left.Seconds())
		rate = p.rate
	}
	jitter := p.pace.Jitter
	if jitter == 0 {
		jitter = DefaultJitter
	}
	spread := 1 + min(max(jitter, 0), 1)*(2*p.rng.Float64()-1)
	if earliest := now.Add(-mostCatchUp); p.due.Before(earliest) {
		p.due = earliest
	}
	p.due = p.due.Add(time.Duration(spread / rate * float64(time.Second)))
}

// count notes that somebody was told for reason.
func (p *pacer) count(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told == nil {
		p.told = make(map[string]int)
	}
	p.told[reason]++
}
