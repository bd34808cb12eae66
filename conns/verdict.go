package conns

import (
	"errors"
	"fmt"
	"time"
)

const (
	verdictWithin = 5 * time.Second
	mostSlow      = 3 // replays of one connection that are not answered in time
	mostRefusals  = 8 // paths that were refused, before nothing is tried any more
)

// batch is what was sent at once, and waits for a verdict.
type batch struct {
	holds []*hold
	sent  time.Time
}

// verdict is what the other side says of a batch, or why it says nothing any more.
type verdict struct {
	batch    uint64
	refusals []string
	err      error
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
