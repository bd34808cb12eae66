package conns

import (
	"errors"
	"fmt"
	"time"
)

const (
	firstBatch = 8 // to see whether the other side takes anything
	batchSize  = 64
	mostFlying = 2                // batches that wait for a verdict; more and smaller ones take longer, fewer and larger ones hold each connection longer
	batchDelay = time.Millisecond // that a quiet connection waits for others
	batchBytes = 16 << 20
	groupBytes = 96 << 20 // the most that a carrier need take at once
)

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
