package conns

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"syscall"
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

const (
	firstBatch    = 8 // to see whether the other side takes anything
	batchSize     = 64
	mostFlying    = 2                // batches that wait for a verdict
	batchDelay    = time.Millisecond // that a quiet connection waits for others
	departTick    = 20 * time.Millisecond
	quietWithin   = 50 * time.Millisecond  // else it is thawed, and tried again later
	quietEach     = 100 * time.Microsecond // more for each member of a group
	firstRetry    = 100 * time.Millisecond
	mostRetry     = 2 * time.Second
	mostTries     = 5 // in about three seconds; then one more, of one that never becomes quiet
	verdictWithin = 5 * time.Second
	saveWithin    = time.Second
	declareWithin = 250 * time.Millisecond // of the upgrade, for a handler that declares a little late
	batchBytes    = 16 << 20
	groupBytes    = 96 << 20 // the most that a carrier need take at once
	stateMost     = 32 << 20 // of one connection
	mostSlow      = 3        // replays of one connection that are not answered in time
	mostRefusals  = 8        // paths that were refused, before nothing is tried any more
)

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
	flying   map[uint64]*batch
	awaiting bool // a verdict
	verdicts chan verdict

	refused map[string]bool // paths

	mu     sync.Mutex
	told   []*hold // quiet, or closed, and not looked at
	signal chan struct{}
}

// traveller is a connection that a departure has looked at.
type traveller struct {
	c     *Conn
	stays string    // why it cannot move, if it was tried
	busy  bool      // it was armed in the middle of a request
	tries int       // in a row, in which it did not become quiet
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

type batch struct {
	holds []*hold
	sent  time.Time
}

type verdict struct {
	batch    uint64
	refusals []string
	err      error
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

// settle waits for the verdicts that are due, and thaws the rest.
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
}

func (d *departure) thaw(holds []*hold) {
	for _, h := range holds {
		h.thaw()
	}
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

// recruit arms connections, as many as can be dealt with soon.
func (d *departure) recruit() {
	if len(d.queue) == 0 && time.Since(d.scanned) >= departTick {
		d.scan()
	}
	window := mostFlying * batchSize
	if !d.answered {
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

// scan looks through all connections. Those that are served by different routes
// come first, so that the first batch shows what the other side takes.
func (d *departure) scan() {
	d.scanned = time.Now()
	cs, _ := d.h.tracker.all()
	var first, rest []*traveller
	paths := map[string]bool{}
	for _, c := range cs {
		t := d.known[c]
		if t == nil {
			t = &traveller{c: c}
			d.known[c] = t
		}
		if c.hold.Load() != nil || d.scanned.Before(t.next) {
			continue
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
		default:
			rest = append(rest, t)
		}
	}
	d.queue = append(first, rest...)
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
	d.disarm(h, t)
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

// dispatch sends what is ready. If that is to wait for more, it returns when to
// look again.
func (d *departure) dispatch() <-chan time.Time {
	groups := d.groups
	d.groups = nil
	for _, g := range groups {
		if g.left == 0 && !g.void && len(d.flying) < mostFlying {
			d.send(g.holds, g.members)
		} else {
			d.groups = append(d.groups, g)
		}
	}
	for len(d.ready) > 0 && len(d.flying) < mostFlying && d.failed == nil {
		if !d.answered && len(d.flying) > 0 {
			return nil // the first verdict decides
		}
		if len(d.ready) < batchSize && d.waiting > 0 {
			if left := batchDelay - time.Since(d.since); left > 0 {
				return time.After(left)
			}
		}
		n := min(len(d.ready), batchSize)
		holds := d.ready[:n:n]
		d.ready = d.ready[n:]
		d.since = time.Now()
		d.send(holds, nil)
	}
	return nil
}

// send sends a batch, or a group.
func (d *departure) send(holds []*hold, m *Members) {
	if m != nil {
		d.sendGroup(holds, m)
		return
	}
	states := saveAll(holds)
	b := &load{}
	for i, h := range holds {
		p, fd, err := h.pack(states[i])
		switch {
		case err == nil:
		case errors.Is(err, errGone):
			continue
		default:
			d.stay(h.c, err.Error())
			h.thaw()
			continue
		}
		data := p.encode()
		if b.size > 0 && b.size+len(data) > batchBytes {
			d.dispatchLoad(b, false)
			b = &load{}
		}
		b.add(h, data, fd)
	}
	d.dispatchLoad(b, false)
}

// sendGroup sends all members, or none.
func (d *departure) sendGroup(holds []*hold, m *Members) {
	states := saveAll(holds)
	state, err := m.pack()
	for _, c := range m.all() {
		if h := c.hold.Load(); h == nil || d.armed[h] != nil {
			d.thaw(holds) // one has joined meanwhile: all of them later
			return
		}
	}
	b := &load{}
	for i, h := range holds {
		if err != nil {
			break
		}
		var p *parcel
		var fd int
		if p, fd, err = h.pack(states[i]); errors.Is(err, errGone) {
			err = nil
			continue
		}
		if err != nil {
			break
		}
		p.group = m.name
		if len(b.holds) == 0 {
			p.groupState, p.grouped = state, true
		}
		if b.add(h, p.encode(), fd); b.size > groupBytes {
			err = errors.New(reasonTooMuch)
		}
	}
	if err != nil {
		for _, h := range holds {
			d.stay(h.c, "its group stays: "+err.Error())
		}
		d.thaw(holds)
		return
	}
	d.dispatchLoad(b, true)
}

// load is what is sent at once.
type load struct {
	holds   []*hold
	parcels [][]byte
	fds     []int
	size    int
}

func (b *load) add(h *hold, parcel []byte, fd int) {
	b.holds, b.parcels, b.fds = append(b.holds, h), append(b.parcels, parcel), append(b.fds, fd)
	b.size += len(parcel)
}

func (d *departure) dispatchLoad(b *load, whole bool) {
	if len(b.holds) == 0 {
		return
	}
	if d.failed != nil {
		d.thaw(b.holds)
		return
	}
	d.next++
	err := d.carrier.Send(d.next, whole, b.parcels, b.fds)
	for _, p := range b.parcels {
		clear(p) // it may have held keys
	}
	// Also one that could not be sent flies until it is sure that no verdict comes.
	d.flying[d.next] = &batch{holds: b.holds, sent: time.Now()}
	if err != nil {
		d.failed = fmt.Errorf("cannot send %d connections: %w", len(b.holds), err)
		return
	}
	d.await()
}

// await has one verdict waited for.
func (d *departure) await() {
	if d.awaiting {
		return
	}
	d.awaiting = true
	go func() {
		b, refusals, err := d.carrier.Await()
		d.verdicts <- verdict{b, refusals, err}
	}()
}

// judge acts upon a verdict.
func (d *departure) judge(v verdict) {
	d.awaiting = false
	b := d.flying[v.batch]
	switch {
	case v.err != nil:
		d.gone = true
		d.failed = errors.Join(d.failed, fmt.Errorf("the new process is not there any more: %w", v.err))
		return
	case b == nil || len(v.refusals) != len(b.holds):
		d.failed = errors.New("the new process answered what it was not asked")
		return
	}
	delete(d.flying, v.batch)
	for _, other := range d.flying {
		other.sent = time.Now() // the other side is there
	}
	late := make([][]byte, len(b.holds))
	for i, h := range b.holds {
		if v.refusals[i] == "" {
			late[i] = h.takeLate()
		}
	}
	goErr := d.carrier.Go(v.batch, late)
	for i, h := range b.holds {
		if reason := v.refusals[i]; reason != "" {
			if t := d.known[h.c]; reason == reasonSlow && t != nil && t.slow < mostSlow {
				t.later(&t.slow)
				h.thaw()
				continue
			}
			if l := h.c.live.Load(); l != nil {
				d.refused[l.path] = true
			}
			d.stay(h.c, reasonRefused+": "+reason)
			h.thaw()
			continue
		}
		d.account.Moved[h.c.kindName()]++
		d.h.departed.Store(true)
		h.leave(func(data []byte, end bool) {
			if !d.h.over.Load() {
				d.carrier.Late(v.batch, i, data, end)
			}
		})
		delete(d.known, h.c)
		d.account.Pause = max(d.account.Pause, time.Since(h.quietAt))
	}
	d.answered = true
	d.account.Batches++
	d.account.Took = time.Since(d.began)
	if goErr != nil { // it was served all the same: the end of the channel lets the other side go on
		d.failed = errors.Join(d.failed, goErr)
		return
	}
	if len(d.flying) > 0 {
		d.await()
	}
}

// prospect is whether a connection can move.
type prospect uint8

const (
	ripe   prospect = iota // as soon as its reader is parked
	busy                   // when its request was answered
	notYet                 // it has to be looked at again
	never
)

// Why a connection does not move.
const (
	reasonHTTP2      = "HTTP/2"
	reasonTLS        = "TLS before 1.3"
	reasonNoExport   = "TLS whose state this process cannot export"
	reasonHijacked   = "hijacked without a request to serve again"
	reasonUndeclared = "not declared movable"
	reasonCompressed = "compression with context takeover"
	reasonNoFraming  = "protocol without framing"
	reasonNoIDs      = "event stream without ids"
	reasonNotHTTP    = "not understood"
	reasonRefused    = "refused by the new version"
	reasonEnding     = "its protocol is at the end"
	reasonNoSocket   = "it has no descriptor"
	reasonBody       = "its request had a body"
	reasonNeverQuiet = "nobody reads it, or a message does not end"
	reasonTooMuch    = "there is too much to be moved with it"
)

// prospect looks at the connection from outside.
func (c *Conn) prospect() (prospect, string) {
	if why := c.stays.Load(); why != nil {
		return never, *why
	}
	c.mu.Lock()
	state, http2, stream := c.state, c.http2.Load(), c.stream
	fresh := state == http.StateHijacked && c.age(c.tracker.now()) < declareWithin
	c.mu.Unlock()
	l := c.live.Load()
	_, socket := c.Conn.(syscall.Conn)
	switch {
	case state == http.StateClosed || c.moved():
		return never, ""
	case !socket:
		return never, reasonNoSocket
	case http2:
		return never, reasonHTTP2
	case c.secure && stream == c.Conn:
		return notYet, "" // in its handshake
	}
	if c.secure {
		if reason := c.http.exportable(stream); reason != "" {
			return never, reason
		}
	}
	switch {
	case l == nil && state == http.StateHijacked:
		return never, reasonHijacked
	case l == nil && state == http.StateActive:
		return busy, ""
	case l == nil:
		return ripe, ""
	}
	c.gate.Lock()
	defer c.gate.Unlock()
	return l.prospect(state == http.StateHijacked, fresh)
}

func (l *live) prospect(hijacked, fresh bool) (prospect, string) {
	switch {
	case l.kind == kindSSE && l.movableStream():
		return ripe, ""
	case l.kind == kindSSE && l.out.events.headDone && l.out.events.head.eventStream && !l.out.events.done:
		if l.body {
			return never, reasonBody
		}
		return never, reasonNoIDs
	case !hijacked:
		return notYet, "" // it may become a stream, or get an ordinary answer, or be at the end
	case !l.declared && fresh:
		return notYet, ""
	case !l.declared:
		return never, reasonUndeclared
	case l.body:
		return never, reasonBody
	case l.kind != kindWebSocket && (l.in == nil || l.out.framer == nil):
		return never, reasonNoFraming
	case !l.out.answer.done:
		return notYet, ""
	case l.out.answer.compressesWithContext():
		return never, reasonCompressed
	case l.left.Load() || l.ending.Load() || l.broken != nil || l.out.frames.closing || l.out.frames.bad:
		return never, reasonEnding
	}
	return ripe, ""
}

func (c *Conn) reason() string {
	if why := c.stays.Load(); why != nil {
		return *why
	}
	return ""
}

// kindName is the kind of a connection as it is counted.
func (c *Conn) kindName() string {
	if l := c.live.Load(); l != nil {
		return l.kind.String()
	}
	return kindHTTP1.String()
}

// descriptor is the socket's number in this process. It is good as long as the
// connection is not closed, which a hold sees to.
func (c *Conn) descriptor() (fd int, err error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return 0, errors.New(reasonNoSocket)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = raw.Control(func(f uintptr) { fd = int(f) })
	return fd, err
}
