package conns

import (
	"time"
)

const (
	// replayWithin is how long the replays of a batch may take, and reasonSlow why
	// those are refused that take longer: they are tried again.
	replayWithin = time.Second
	reasonSlow   = "was not answered in time when it was served again"
	// streamSilence is how long the handler of an event stream may run without an
	// answer before it is taken to be one that answers with its first event.
	streamSilence = 5 * time.Millisecond
)

// Arrivals is where connections arrive from another process. Its methods are
// called one at a time.
type Arrivals struct {
	h       *HTTP
	answer  func(batch uint64, refusals []string) error
	batches map[uint64]*arrival
}

// arrival is a batch that has arrived.
type arrival struct {
	a        *Arrivals
	number   uint64
	whole    bool
	conns    []*Conn  // nil for one that was refused at once
	replays  []bool   // those that are let in before Go
	refusals []string // of try's
	judged   chan judgement
	tried    chan struct{} // closed when try has answered, or failed to
	ours     bool          // the answer was sent; written before tried is closed
	served   bool
}

type judgement struct {
	i      int
	reason string
}

// Arrive begins to accept connections that come from another process by way of a
// [Carrier]; answer takes its verdicts there. An error of answer says that the
// verdict will never be read: what it was about is dropped, since its sender goes
// on with it. answer is called from several goroutines.
func (h *HTTP) Arrive(answer func(batch uint64, refusals []string) error) *Arrivals {
	return &Arrivals{h: h, answer: answer, batches: make(map[uint64]*arrival)}
}

// Take adopts connections. A WebSocket or event stream has its request served
// once more, and is refused if that is not answered as it was; none is read or
// written before Go. The answer is given by another goroutine, within two
// seconds. The descriptors are Take's.
func (a *Arrivals) Take(batch uint64, whole bool, parcels [][]byte, files []int) {
	b := &arrival{
		a: a, number: batch, whole: whole,
		conns: make([]*Conn, len(parcels)), replays: make([]bool, len(parcels)), refusals: make([]string, len(parcels)),
		judged: make(chan judgement, len(parcels)), tried: make(chan struct{}),
	}
	a.batches[batch] = b
	gate := a.h.entry()
	for i, data := range parcels {
		if i >= len(files) {
			b.judged <- judgement{i, "its descriptor is missing"}
			continue
		}
		c, err := a.h.adopt(data, files[i], func(reason string) { b.judged <- judgement{i, reason} })
		if err != nil {
			b.judged <- judgement{i, err.Error()}
			continue
		}
		b.conns[i], b.replays[i] = c, c.live.Load() != nil
		if !b.replays[i] {
			b.judged <- judgement{i, ""} // between two requests: let in with Go
			continue
		}
		if gate == nil || gate.Inject(c.face()) != nil {
			b.judged <- judgement{i, "this process does not serve any more"}
		}
	}
	for _, fd := range files[min(len(parcels), len(files)):] {
		closeDescriptor(fd)
	}
	go b.try()
}

// try waits for the replays and answers.
func (b *arrival) try() {
	defer close(b.tried)
	left := len(b.conns)
	done := make([]bool, left)
	late := time.NewTimer(replayWithin)
	defer late.Stop()
	silence := time.NewTicker(streamSilence)
	defer silence.Stop()
	for left > 0 {
		select {
		case j := <-b.judged:
			done[j.i], b.refusals[j.i] = true, j.reason
			left--
			continue
		case <-silence.C:
			for i, c := range b.conns {
				if !done[i] && c != nil {
					c.grantStream()
				}
			}
			continue
		case <-late.C:
		}
		for i := range done {
			if !done[i] {
				b.refusals[i] = reasonSlow
			}
		}
		left = 0
	}
	if b.whole {
		b.allOrNone()
	}
	for i, c := range b.conns {
		if c != nil && b.refusals[i] == "" {
			b.a.h.tracker.recordArrived(c)
		}
	}
	b.ours = b.a.answer(b.number, b.refusals) == nil
	for i, c := range b.conns {
		if c != nil && (!b.ours || b.refusals[i] != "") {
			c.hold.Load().drop()
		}
	}
}

// allOrNone refuses every connection if one is refused. If that is only because it
// was not answered in time they are refused for the same reason, and tried again
// together.
func (b *arrival) allOrNone() {
	worst := ""
	for _, reason := range b.refusals {
		if reason != "" && (worst == "" || worst == reasonSlow) {
			worst = reason
		}
	}
	if worst != "" && worst != reasonSlow {
		worst = "another member of its group " + worst
	}
	for i, reason := range b.refusals {
		if reason == "" {
			b.refusals[i] = worst
		}
	}
}

// Go serves the connections of a batch that were not refused. late is what the
// other process had to say to each.
func (a *Arrivals) Go(batch uint64, late [][]byte) {
	if b := a.batches[batch]; b != nil {
		b.serve(late)
	}
}

func (b *arrival) serve(late [][]byte) {
	<-b.tried
	if b.served || !b.ours {
		return
	}
	b.served = true
	for i, c := range b.conns {
		if c == nil || b.refusals[i] != "" {
			continue
		}
		if i < len(late) {
			c.hearLate(late[i])
		}
		c.hold.Load().thaw()
		if b.replays[i] {
			b.a.h.lives.in.Add(1)
			continue
		}
		if gate := b.a.h.entry(); gate == nil || gate.Inject(c.face()) != nil {
			c.Close()
		}
	}
}

// Late writes to connection i of a batch what the other process had to say after
// Go. end says that it has closed the connection.
func (a *Arrivals) Late(batch uint64, i int, data []byte, end bool) {
	b := a.batches[batch]
	if b == nil || i < 0 || i >= len(b.conns) || b.conns[i] == nil || !b.served || b.refusals[i] != "" {
		return
	}
	c := b.conns[i]
	c.hearLate(data)
	if l := c.live.Load(); end && l != nil {
		go func() {
			c.flushLive(l)
			c.Close()
		}()
	}
}

// Gone is the end of the other side: what was answered is served, the rest is
// dropped. It returns when that is so.
func (a *Arrivals) Gone() {
	for _, b := range a.batches {
		b.serve(nil)
	}
}
