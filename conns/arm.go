package conns

import (
	"fmt"
	"slices"
	"time"
)

const (
	quietWithin = 50 * time.Millisecond  // else it is thawed, and tried again later
	quietEach   = 100 * time.Microsecond // more for each member of a group
	firstRetry  = 100 * time.Millisecond
	mostRetry   = 2 * time.Second
	mostTries   = 5 // in about three seconds, in which nothing goes on; then one more, of one that never becomes quiet
)

// traveller is a connection that a departure has looked at.
type traveller struct {
	c     *Conn
	stays string    // why it cannot move, if it was tried
	busy  bool      // it was armed in the middle of a request
	tries int       // in a row, in which it did not become quiet, and nothing went on that it waits for
	slow  int       // replays that were not answered in time
	next  time.Time // not to be armed before
	until time.Time // to be quiet by then; zero for a busy one
	group *groupMove
}

// groupMove is a group that is to be quiet as a whole.
type groupMove struct {
	members *Members
	holds   []*hold
	left    int // that are not quiet
	void    bool
}

// scan looks through all connections. Those that are served by different routes
// come first, so that the first batch shows what the other side takes; then those
// that have nothing to be replayed or saved, which is what others could wait for.
func (d *departure) scan() {
	d.scanned = time.Now()
	cs, _ := d.h.tracker.all()
	var first, plain, rest []*traveller
	paths := map[string]bool{}
	for _, c := range cs {
		t := d.known[c]
		if t == nil {
			t = &traveller{c: c}
			d.known[c] = t
		}
		if c.hold.Load() != nil || d.scanned.Before(t.next) || !d.final && t.tries+t.slow > 0 {
			continue // Move tries once: the others do not wait
		}
		if t.stays != "" {
			d.stay(c, t.stays)
			continue
		}
		p, reason := c.prospect()
		t.busy = p == busy
		l := c.live.Load()
		if l != nil && (p == ripe || p == busy) && (d.refused[l.path] || len(d.refused) > mostRefusals) {
			p, reason = never, reasonRefused
		}
		switch {
		case p == never && d.final:
			c.stay(reason)
		case p == never, p == notYet, p == busy && !d.final:
		case l != nil && !paths[l.path] && len(first) < firstBatch:
			paths[l.path] = true
			first = append(first, t)
		case l == nil:
			plain = append(plain, t)
		default:
			rest = append(rest, t)
		}
	}
	d.queue = slices.Concat(first, plain, rest)
}

// recruit arms connections, as many as can be dealt with soon.
func (d *departure) recruit() {
	if len(d.queue) == 0 && time.Since(d.scanned) >= departTick {
		d.scan()
	}
	window := mostFlying * batchSize
	if !d.answered && d.unquiet < firstBatch {
		window = firstBatch
	}
	inHand := 0
	for _, b := range d.flying {
		inHand += len(b.holds)
	}
	for len(d.queue) > 0 && (d.waiting+len(d.ready)+inHand < window || d.queue[0].busy) {
		t := d.queue[0]
		d.queue = d.queue[1:]
		if t.c.hold.Load() != nil {
			continue
		}
		if m := t.c.members.Load(); m != nil {
			d.armGroup(m)
		} else {
			d.arm(t, nil)
		}
	}
}

func (d *departure) arm(t *traveller, g *groupMove) *hold {
	t.until, t.group = time.Time{}, g
	if !t.busy {
		t.until = time.Now().Add(quietWithin)
		d.waiting++
	}
	h := newHold(t.c, d.tell)
	if t.tries == 0 {
		h.goesOn() // what went on before does not count
	}
	d.armed[h] = t
	t.c.arm(h)
	return h
}

// armGroup arms all members, if all of them can move.
func (d *departure) armGroup(m *Members) {
	g := &groupMove{members: m}
	var ts []*traveller
	for _, c := range m.all() {
		p, reason := c.prospect()
		if p == never {
			for _, c := range m.all() {
				d.stay(c, "its group stays: "+reason)
			}
			return
		}
		t := d.known[c]
		if t == nil {
			t = &traveller{c: c}
			d.known[c] = t
		}
		if p == notYet || c.hold.Load() != nil || time.Now().Before(t.next) {
			return // later, with the others
		}
		ts = append(ts, t)
	}
	for _, t := range ts {
		t.busy = false
		g.holds = append(g.holds, d.arm(t, g))
	}
	for _, t := range ts { // the more there are the longer it takes to wake them
		t.until = time.Now().Add(quietWithin + time.Duration(len(ts))*quietEach)
	}
	g.left = len(g.holds)
	d.groups = append(d.groups, g)
}

// tell is called by connections, with their gate held.
func (d *departure) tell(h *hold) {
	h.quietAt = time.Now()
	d.mu.Lock()
	d.told = append(d.told, h)
	d.mu.Unlock()
	select {
	case d.signal <- struct{}{}:
	default:
	}
}

// collect takes note of what has become quiet.
func (d *departure) collect() {
	d.mu.Lock()
	told := d.told
	d.told = nil
	d.mu.Unlock()
	for _, h := range told {
		t, ok := d.armed[h]
		if !ok {
			continue // it was given up in the same moment
		}
		d.disarm(h, t)
		t.tries = 0
		if g := t.group; g != nil {
			g.left--
			continue
		}
		if len(d.ready) == 0 {
			d.since = time.Now()
		}
		d.ready = append(d.ready, h)
	}
}

func (d *departure) disarm(h *hold, t *traveller) {
	delete(d.armed, h)
	if !t.busy {
		d.waiting--
	}
}

// expire gives up on connections that do not become quiet, until later.
func (d *departure) expire() {
	now := time.Now()
	for h, t := range d.armed {
		if t.until.IsZero() {
			if p, _ := t.c.prospect(); p == busy {
				continue
			}
			t.busy, t.until = false, now.Add(quietWithin) // its request is over, or became something else
			d.waiting++
		}
		if now.Before(t.until) {
			continue
		}
		if t.group != nil {
			t.group.void = true
			continue
		}
		d.giveUp(h, t)
	}
	groups := d.groups
	d.groups = nil
	for _, g := range groups {
		if !g.void {
			d.groups = append(d.groups, g)
			continue
		}
		for _, h := range g.holds {
			if t, ok := d.armed[h]; ok {
				d.giveUp(h, t)
			}
			h.thaw()
		}
	}
	for id, b := range d.flying {
		if now.Sub(b.sent) > verdictWithin {
			d.failed = fmt.Errorf("the new process did not say within %v whether it serves batch %d", verdictWithin, id)
		}
	}
}

func (d *departure) giveUp(h *hold, t *traveller) {
	d.unquiet++
	d.disarm(h, t)
	if h.goesOn() {
		t.tries = 0
	}
	h.thaw()
	if t.tries >= mostTries && d.final {
		d.stay(t.c, reasonNeverQuiet)
		return
	}
	t.later(&t.tries)
}

// later has a connection tried again after a while, a longer one each time.
func (t *traveller) later(times *int) {
	t.next = time.Now().Add(min(firstRetry<<min(*times, 10), mostRetry))
	*times++
}
