package testnet

import (
	"sync"
	"time"
)

// window bounds the bytes under way in one direction, as a receive window
// does: beyond it the sender is not read from.
const window = 1 << 20

// ending is how a direction ends.
type ending int

const (
	open ending = iota
	fin
	rst
)

// event is one thing under way: bytes, or an ending.
type event struct {
	due  time.Time
	data []byte
	end  ending
}

// flow is what is under way in one direction, in order.
type flow struct {
	delay     time.Duration
	notBefore time.Time // when the handshake lets this side send its first byte

	mu      sync.Mutex
	changed sync.Cond
	events  []event
	bytes   int
	sent    ending // the last ending put in; after rst nothing more goes in
	done    bool   // its FIN has been delivered
	closed  bool
}

func newFlow(delay time.Duration, notBefore time.Time) *flow {
	f := &flow{delay: delay, notBefore: notBefore}
	f.changed.L = &f.mu
	return f
}

// put adds what has just been read. Bytes wait for room in the window, endings
// do not. It reports false when nothing more can arrive.
func (f *flow) put(data []byte, end ending) bool {
	due := time.Now()
	if due.Before(f.notBefore) {
		due = f.notBefore
	}
	due = due.Add(f.delay)

	f.mu.Lock()
	defer f.mu.Unlock()
	for end == open && f.bytes >= window && !f.closed && f.sent == open {
		f.changed.Wait()
	}
	if f.closed || f.sent == rst || (end != rst && f.sent == fin) {
		return false
	}
	f.events = append(f.events, event{due: due, data: data, end: end})
	f.bytes += len(data)
	f.sent = end
	f.changed.Broadcast()
	return true
}

// take returns the next event, due or not; false when the flow was closed.
func (f *flow) take() (event, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.events) == 0 && !f.closed {
		f.changed.Wait()
	}
	if f.closed {
		return event{}, false
	}
	e := f.events[0]
	f.events[0] = event{}
	f.events = f.events[1:]
	f.bytes -= len(e.data)
	f.changed.Broadcast()
	return e, true
}

// finish notes that the FIN is being delivered; before it is, so that whoever
// sees the effect of the FIN on the socket sees the note as well.
func (f *flow) finish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = true
}

func (f *flow) finished() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.done
}

// close wakes everybody; what is still under way is dropped.
func (f *flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.events = nil
	f.changed.Broadcast()
}
