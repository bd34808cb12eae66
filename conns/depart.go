package conns

import (
	"context"
	"sync"
	"time"
)

// Departed is the account of a departure.
type Departed struct {
	Moved   map[string]int `json:"moved,omitempty"`  // connections that went on, by kind
	Stayed  map[string]int `json:"stayed,omitempty"` // those that did not, by reason
	Batches int            `json:"batches,omitempty"`
	Took    time.Duration  `json:"took_ns"`           // until the last one had moved
	Pause   time.Duration  `json:"longest_pause_ns"`  // that one connection was held for
	Failure string         `json:"failure,omitempty"` // why it ended early; what had not moved by then stayed
}

// departTick is how often a departure looks for what has changed unasked.
const departTick = 20 * time.Millisecond

// Move moves every connection that can be moved at once to the other end of
// carrier. It returns when it has tried each of them, when ctx ends, or when
// carrier fails. Nobody is told anything: a connection that has not moved goes on
// here as before, and so can this server. It should not accept meanwhile.
func (h *HTTP) Move(ctx context.Context, carrier Carrier) Departed {
	return h.departure(carrier).run(ctx)
}

// Depart moves every connection that can be moved to the other end of carrier: at
// once those that have nothing under way, the others when they have. It returns
// when none is left of which that can be expected, when ctx ends, or when carrier
// fails; a connection that has not moved then goes on here, untouched. Clients of
// HTTP/2 are sent a GOAWAY, those of HTTP/1 that cannot move are told with their
// next answer, streams and whatever was upgraded at their [Pace]. It must be called
// once, when this process has stopped to accept. It goes on where a Move with the
// same carrier has ended; the result is of its own part.
//
// Carrier must remain usable until Shutdown, since what old handlers go on to write
// is forwarded.
func (h *HTTP) Depart(ctx context.Context, carrier Carrier) Departed {
	h.successor.Store(true)
	if end, ok := ctx.Deadline(); ok {
		h.pacer.within(time.Until(end) / 2)
	}
	h.rise(departing)
	h.tellLeaving()
	h.goAway()
	d := h.departure(carrier)
	d.final = true
	return d.run(ctx)
}

// departure is the one with this carrier.
func (h *HTTP) departure(carrier Carrier) *departure {
	if d := h.leavingBy; d != nil && d.carrier == carrier {
		return d
	}
	h.leavingBy = &departure{
		h: h, carrier: carrier,
		known: make(map[*Conn]*traveller), armed: make(map[*hold]*traveller), flying: make(map[uint64]*batch),
		refused: make(map[string]bool), verdicts: make(chan verdict, 1), signal: make(chan struct{}, 1),
	}
	return h.leavingBy
}

// departure is one Move, the Depart after it, or both. It belongs to the goroutine
// that has called these.
type departure struct {
	h       *HTTP
	carrier Carrier
	final   bool // Depart
	began   time.Time
	account Departed
	failed  error
	gone    bool // no verdict comes any more

	known   map[*Conn]*traveller
	queue   []*traveller         // to be armed
	scanned time.Time            // when queue was last filled
	armed   map[*hold]*traveller // not quiet yet
	waiting int                  // of those, the ones that should be quiet at once
	ready   []*hold
	since   time.Time // when ready got its first
	groups  []*groupMove

	next     uint64 // number of the last batch
	answered bool   // there was a verdict
	unquiet  int    // attempts at which a connection did not become quiet
	flying   map[uint64]*batch
	awaiting bool // a verdict
	verdicts chan verdict

	refused map[string]bool // paths

	mu     sync.Mutex
	told   []*hold // quiet, or closed, and not looked at
	signal chan struct{}
}

func (d *departure) run(ctx context.Context) Departed {
	d.began, d.scanned = time.Now(), time.Time{}
	d.account = Departed{Moved: map[string]int{}, Stayed: map[string]int{}}
	tick := time.NewTicker(departTick)
	defer tick.Stop()
	var soon <-chan time.Time
	for {
		d.collect()
		d.recruit()
		soon = d.dispatch()
		if d.failed != nil || ctx.Err() != nil || d.finished() {
			break
		}
		select {
		case <-d.signal:
		case v := <-d.verdicts:
			d.judge(v)
		case <-tick.C:
			d.expire()
		case <-soon:
		case <-ctx.Done():
		}
	}
	d.settle()
	switch {
	case ctx.Err() != nil:
		d.account.Failure = "its time was up"
	case d.failed != nil:
		d.account.Failure = d.failed.Error()
	}
	for c := range d.known {
		if reason := c.reason(); reason != "" && (c.told.Load() || !c.closed()) && !c.moved() {
			d.account.Stayed[reason]++
		}
	}
	return d.account
}

// stay notes why a connection does not move.
func (d *departure) stay(c *Conn, reason string) {
	if t := d.known[c]; t != nil && t.stays == "" {
		t.stays = reason
	}
	if d.final {
		c.stay(reason)
	}
}

// finished reports that there is nothing to wait for.
func (d *departure) finished() bool {
	if len(d.queue)+len(d.armed)+len(d.ready)+len(d.flying)+len(d.groups) > 0 {
		return false
	}
	if !d.final {
		return !d.scanned.IsZero()
	}
	cs, _ := d.h.tracker.all()
	for _, c := range cs {
		if p, reason := c.prospect(); c.stays.Load() == nil && (p != never || reason != "") {
			return false
		}
	}
	return true
}

// settle waits for the verdicts that are due, thaws the rest and forgets it: a Depart
// may follow.
func (d *departure) settle() {
	if len(d.flying) > 0 {
		d.carrier.Stop()
		for !d.gone {
			d.await()
			d.judge(<-d.verdicts)
		}
	}
	d.collect()
	for _, b := range d.flying {
		d.thaw(b.holds)
	}
	d.thaw(d.ready)
	for h := range d.armed {
		h.thaw()
	}
	for _, g := range d.groups {
		d.thaw(g.holds)
	}
	clear(d.flying)
	clear(d.armed)
	d.queue, d.ready, d.groups, d.waiting = nil, nil, nil, 0
}

func (d *departure) thaw(holds []*hold) {
	for _, h := range holds {
		h.thaw()
	}
}
