package segue

import (
	"fmt"
	"sync"
	"time"
)

// maxQueued is how many events wait for a slow sink before more are dropped.
const maxQueued = 1024

// outlet carries events to the sink in a goroutine of its own, so that no code
// of the user's runs in a goroutine that owns state.
type outlet struct {
	sink    func(Event)
	mu      sync.Mutex
	more    sync.Cond
	queue   []Event
	dropped int
	closing bool
	done    chan struct{}
}

func newOutlet(sink func(Event)) *outlet {
	o := &outlet{sink: sink, done: make(chan struct{})}
	o.more.L = &o.mu
	if sink == nil {
		close(o.done)
		return o
	}
	go o.carry()
	return o
}

func (o *outlet) emit(e Event) {
	if o.sink == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) >= maxQueued || o.closing {
		o.dropped++
		return
	}
	o.queue = append(o.queue, e)
	o.more.Signal()
}

func (o *outlet) carry() {
	defer close(o.done)
	for {
		o.mu.Lock()
		for len(o.queue) == 0 && !o.closing {
			o.more.Wait()
		}
		batch, dropped := o.queue, o.dropped
		o.queue, o.dropped = nil, 0
		o.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, e := range batch {
			o.sink(e)
		}
		if dropped > 0 {
			o.sink(Problem{fmt.Errorf("%d events were dropped because their sink is too slow", dropped)})
		}
	}
}

// close delivers what is queued, within budget.
func (o *outlet) close(budget time.Duration) {
	o.mu.Lock()
	o.closing = true
	o.more.Signal()
	o.mu.Unlock()
	select {
	case <-o.done:
	case <-time.After(budget):
	}
}
