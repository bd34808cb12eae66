package stay

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Echo is a WebSocket at Path, in which {n} stands for the number of the client. It
// sends messages of 1 B to 64 KiB, as many small as big ones, and expects each
// back, in order.
type Echo struct {
	Path      string
	Fragments bool // messages in up to five frames, with pings between them
}

const maxMessage = 64 << 10

// noise is what messages are cut from.
var noise = func() []byte {
	b := make([]byte, 2*maxMessage)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}()

// echoing is an Echo at work.
type echoing struct {
	*socket
	Echo
	n int // messages sent

	mu      sync.Mutex
	waiting []sent        // for their echoes
	missed  []sent        // whose turn is over
	had     []sent        // the last few, in case they come again
	closing bool          // by us
	empty   chan struct{} // gets one when nothing is waiting
	pings   uint32
	pongs   uint32
}

type sent struct {
	n, size  int
	intended time.Time
}

// payload is the content of a message: its number, as far as it has room, and
// noise that depends on it.
func (m sent) payload(buf []byte) []byte {
	at := m.n * 7919 % maxMessage
	buf = append(buf[:0], noise[at:at+m.size]...)
	var number [8]byte
	binary.LittleEndian.PutUint64(number[:], uint64(m.n))
	copy(buf, number[:])
	return buf
}

func (m sent) is(message, buf []byte) bool {
	return len(message) == m.size && bytes.Equal(message, m.payload(buf))
}

func (k Echo) open(c *client) error {
	s, err := c.upgrade(k.Path)
	if err != nil {
		return err
	}
	e := &echoing{socket: s, Echo: k, empty: make(chan struct{}, 1)}
	s.pong = e.ponged
	c.state = e
	return nil
}

func (k Echo) stay(c *client) {
	e := c.state.(*echoing)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.receive()
	}()
	e.beats(func(intended time.Time) bool {
		select {
		case <-ended:
			return false
		default:
			return e.send(intended)
		}
	})
	c.run.senders.Done()
	late := time.NewTimer(settleTimeout)
	defer late.Stop()
	for e.unanswered() > 0 {
		select {
		case <-e.empty:
			continue
		case <-ended:
		case <-late.C:
		}
		break
	}
	e.mu.Lock()
	e.closing = true
	e.mu.Unlock()
	e.bye()
	<-ended
	e.settle()
}

// size is as likely to be below 256 B as above.
func size(rng *rand.Rand) int {
	return int(math.Exp2(rng.Float64() * math.Log2(maxMessage)))
}

func (e *echoing) send(intended time.Time) bool {
	rng := e.client.rng
	m := sent{e.n, size(rng), intended}
	e.n++
	e.mu.Lock()
	e.waiting = append(e.waiting, m)
	e.mu.Unlock()
	e.tally.add(func(c *Count) { c.Sent++ })
	payload := m.payload(nil)
	frames := 1
	if e.Fragments {
		frames = 1 + rng.IntN(5)
	}
	op := byte(opBinary)
	for i := range frames {
		piece := payload
		if i < frames-1 {
			piece = payload[:rng.IntN(len(payload)+1)]
		}
		payload = payload[len(piece):]
		if e.write(appendFrame(nil, op, i == frames-1, piece, rng.Uint32()), rng) != nil {
			return false // the reader knows how it ended
		}
		if op = opContinuation; i < frames-1 && rng.IntN(2) == 0 && !e.ping(rng) {
			return false
		}
	}
	return true
}

func (e *echoing) ping(rng *rand.Rand) bool {
	e.mu.Lock()
	e.pings++
	payload := binary.BigEndian.AppendUint32(nil, e.pings)
	e.mu.Unlock()
	return e.write(appendFrame(nil, opPing, true, payload, rng.Uint32()), rng) == nil
}

// ponged: a service need only answer the last of several pings (RFC 6455, section
// 5.5.3), but in order.
func (e *echoing) ponged(payload []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(payload) != 4 {
		return // one that nobody asked for
	}
	n := binary.BigEndian.Uint32(payload)
	if n <= e.pongs || n > e.pings {
		e.tally.add(func(c *Count) { c.Wrong++ })
		e.example("pong %d after %d, of %d pings", n, e.pongs, e.pings)
	}
	e.pongs = n
}

func (e *echoing) receive() {
	var buf []byte
	for {
		message, err := e.read()
		e.mu.Lock()
		closing := e.closing
		e.mu.Unlock()
		if err != nil {
			if !closing {
				e.ended(err)
			}
			return
		}
		if buf == nil {
			buf = make([]byte, 0, maxMessage)
		}
		e.took(message, buf)
	}
}

// took finds the message that was echoed.
func (e *echoing) took(message, buf []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, m := range e.waiting {
		if !m.is(message, buf) {
			continue
		}
		e.missed = append(e.missed, e.waiting[:i]...)
		e.waiting = e.waiting[i+1:]
		e.had = append(e.had, m)
		if len(e.had) > 64 {
			e.had = e.had[1:]
		}
		e.tally.add(func(c *Count) { c.Received++ })
		e.tally.paused(e.client.n, time.Since(m.intended))
		if len(e.waiting) == 0 {
			select {
			case e.empty <- struct{}{}:
			default:
			}
		}
		return
	}
	for i, m := range e.missed {
		if m.is(message, buf) {
			e.missed = append(e.missed[:i], e.missed[i+1:]...)
			e.tally.add(func(c *Count) { c.Reordered++ })
			e.example("message %d of %d bytes came late", m.n, m.size)
			return
		}
	}
	for _, m := range e.had {
		if m.is(message, buf) {
			e.tally.add(func(c *Count) { c.Duplicated++ })
			e.example("message %d of %d bytes came twice", m.n, m.size)
			return
		}
	}
	e.tally.add(func(c *Count) { c.Wrong++ })
	e.example("a message of %d bytes that was never sent", len(message))
}

func (e *echoing) unanswered() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.waiting)
}

// settle counts what never came. Who was told that the service restarts need not
// have had everything back.
func (e *echoing) settle() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.told {
		return
	}
	lost := append(e.missed, e.waiting...)
	e.tally.add(func(c *Count) { c.Lost += len(lost) })
	for _, m := range lost {
		e.example("message %d of %d bytes was lost, %d were sent", m.n, m.size, e.n)
	}
	if e.pongs < e.pings {
		e.tally.add(func(c *Count) { c.Lost++ })
		e.example("ping %d was not answered, the last pong is %d", e.pings, e.pongs)
	}
}
