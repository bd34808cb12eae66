package supervise

import (
	"fmt"
	"sync"
	"time"

	"github.com/segue-go/segue/client"
)

// behind is how many events a subscriber may not have read yet before some are
// dropped: nobody waits for a slow one.
const behind = 1024

// bus carries events to subscribers. Safe for concurrent use.
type bus struct {
	mu     sync.Mutex
	closed bool
	subs   map[*subscriber]struct{}
}

// channel is the bus for one service. Its end is that of the bus when it is the
// only one.
type channel struct {
	*bus
	service string
	shared  bool
}

func (c channel) publish(e client.Event) {
	e.Service = c.service
	c.bus.publish(e)
}

func (c channel) close() {
	if !c.shared {
		c.bus.close()
	}
}

type subscriber struct {
	ch      chan client.Event
	of      string // the service whose events are wanted; "" for all
	dropped int
}

func newBus() *bus { return &bus{subs: map[*subscriber]struct{}{}} }

// subscribe's channel is closed by cancel or with the service.
func (b *bus) subscribe() (<-chan client.Event, func()) { return b.listen("", behind) }

// listen is subscribe for the events of one service, or with "" of all of them, of
// which so many wait.
func (b *bus) listen(of string, room int) (<-chan client.Event, func()) {
	s := &subscriber{ch: make(chan client.Event, room), of: of}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		close(s.ch)
		return s.ch, func() {}
	}
	b.subs[s] = struct{}{}
	return s.ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if _, ok := b.subs[s]; ok {
			delete(b.subs, s)
			close(s.ch)
		}
	}
}

func (b *bus) publish(e client.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subs {
		if s.of != "" && s.of != e.Service {
			continue
		}
		if s.dropped > 0 && len(s.ch) < cap(s.ch)-1 {
			s.ch <- client.Event{Time: e.Time, Service: e.Service, Kind: client.EventDropped,
				Text: fmt.Sprintf("%d events were missed", s.dropped)}
			s.dropped = 0
		}
		select {
		case s.ch <- e:
		default:
			s.dropped++
		}
	}
}

func (b *bus) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for s := range b.subs {
		close(s.ch)
	}
	clear(b.subs)
}
