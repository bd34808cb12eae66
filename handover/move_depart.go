package handover

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Departure is the end of a move that connections leave from. Its servers may
// send, and wait for verdicts, at the same time.
//
// Whoever sends a connection keeps it until its verdict: one that is served
// there must not be served here any more, and the other way round. A connection
// goes on here only when it was refused, or after Await has returned an error:
// then no verdict for it can come. An error of Send is not enough.
type Departure struct {
	link *moveLink

	mu      sync.Mutex
	sent    map[moveKey]moveSent // batches without a verdict
	stopped bool

	read     *sync.Cond                // with mu: something was
	reading  bool                      // by one of those that wait
	verdicts map[string][]moveVerdicts // read, and not yet asked for by their server
	failure  error                     // why no more can be read
}

// moveKey is a batch of one server.
type moveKey struct {
	server string
	batch  uint64
}

// moveSent is what a verdict must fit.
type moveSent struct {
	connections int
	whole       bool
}

func (s moveSent) check(refusals []string) error {
	refused := 0
	for _, why := range refusals {
		if why != "" {
			refused++
		}
	}
	switch {
	case s.connections == 0:
		return errors.New("none is expected")
	case len(refusals) != s.connections:
		return fmt.Errorf("it is about %d connections, the batch has %d", len(refusals), s.connections)
	case s.whole && refused != 0 && refused != s.connections:
		return fmt.Errorf("%d of %d connections are refused that stay together", refused, s.connections)
	}
	return nil
}

type moveVerdicts struct {
	batch    uint64
	refusals []string
}

// NewDeparture takes over f, one end of [MovePair], also when there is an error.
// Verdicts are believed only if a process of this user sent them, and if peer is
// not 0, only the one with that pid.
func NewDeparture(f *os.File, peer int) (*Departure, error) {
	l, err := newMoveLink(f, peer)
	if err != nil {
		return nil, err
	}
	d := &Departure{link: l, sent: map[moveKey]moveSent{}, verdicts: map[string][]moveVerdicts{}}
	d.read = sync.NewCond(&d.mu)
	return d, nil
}

// Server is the part of the move that is about the server of that name, of 1 to
// 255 bytes.
func (d *Departure) Server(name string) *ServerDeparture { return &ServerDeparture{d, name} }

// Close ends the move. The other side serves what it has said it does, and drops
// the rest: so it is safe when every connection that was sent has a verdict, or
// after Await has returned an error. It ends an Await that is under way.
func (d *Departure) Close() error { return d.link.conn.Close() }

// ServerDeparture moves the connections of one server; conns.Carrier is its
// shape. Its methods may be called concurrently, except that Late for one
// connection is called in the order of the writes. All of them are bounded by
// 5 s, except Await.
//
// An error that [ErrBusy] matches, or that is about what was to be sent (too
// much, no name), changes nothing. After any other error of Send, Go or Late
// nothing more can be sent for any server; verdicts are to be awaited still.
type ServerDeparture struct {
	d    *Departure
	name string
}

var (
	errMoveStopped = errors.New("the move was stopped")
	errMoveGone    = errors.New("the other side of the move is gone")
)

// Send sends a batch: a parcel and a descriptor for each connection. The other
// side takes all of them or none if whole is set. The number is one that this
// server has not used yet. Parcels and descriptors remain the caller's. Verdicts
// are to be awaited meanwhile: a receiver that cannot get rid of them reads no
// more batches.
func (s *ServerDeparture) Send(batch uint64, whole bool, parcels [][]byte, fds []int) error {
	if len(fds) != len(parcels) || len(fds) == 0 {
		return fmt.Errorf("cannot send %d parcels with %d descriptors: each connection has one of both", len(parcels), len(fds))
	}
	m := moveMessage{kind: moveBatch, server: s.name, batch: batch, items: parcels, files: fds}
	if whole {
		m.arg = 1
	}
	if err := s.d.register(moveKey{s.name, batch}, moveSent{len(fds), whole}); err != nil {
		return err
	}
	err := s.d.link.send(m)
	if err != nil && !s.d.link.ended() {
		s.d.forget(moveKey{s.name, batch}) // nothing of it was sent
	}
	return err
}

// Go tells the other side that the connections of a batch which it has not
// refused are its own. late[i] was written to connection i since it was sent.
func (s *ServerDeparture) Go(batch uint64, late [][]byte) error {
	return s.d.link.send(moveMessage{kind: moveGo, server: s.name, batch: batch, items: late})
}

// Late forwards what was written to connection i of a batch after Go; end says
// that it was closed here.
func (s *ServerDeparture) Late(batch uint64, i int, data []byte, end bool) error {
	if i < 0 || i >= MaxMoved {
		return fmt.Errorf("cannot forward to connection %d of a batch", i)
	}
	m := moveMessage{kind: moveLate, server: s.name, batch: batch, arg: uint32(i) << 1, items: [][]byte{data}}
	if end {
		m.arg |= 1
	}
	return s.d.link.send(m)
}

// Stop gives the other side up, for all servers. A verdict that it has not sent
// by now it cannot send any more: it gets an error, and drops the connections.
// Verdicts that it has sent are returned by Await, and then an error. Go and
// Late still reach it. It may be called more than once.
func (s *ServerDeparture) Stop() { s.d.stop() }

// Await returns the next verdict for a batch of this server: refusals[i] is why
// connection i is refused, "" if the other side serves it. It blocks until there
// is one. After an error, no verdict will ever come for any server.
func (s *ServerDeparture) Await() (batch uint64, refusals []string, err error) {
	d := s.d
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		if read := d.verdicts[s.name]; len(read) > 0 {
			d.verdicts[s.name] = read[1:]
			return read[0].batch, read[0].refusals, nil
		}
		switch {
		case d.failure != nil:
			return 0, nil, d.failure
		case d.reading: // by another server's Await, for all
			d.read.Wait()
			continue
		}
		d.reading = true
		d.mu.Unlock()
		err := d.next()
		d.mu.Lock()
		d.reading, d.failure = false, err
		d.read.Broadcast()
	}
}

// next takes one verdict off the wire. A side that breaks the rules is not
// believed any more, and cannot send another one.
func (d *Departure) next() error {
	m, err := d.link.receive()
	if err == io.EOF {
		return d.why()
	}
	if err == nil {
		err = d.verdict(m)
	}
	if err != nil {
		d.stop()
	}
	return err
}

func (d *Departure) verdict(m moveMessage) error {
	switch {
	case m.kind == moveError && len(m.items) == 1:
		return fmt.Errorf("the other side has ended the move: %s", errorText(string(m.items[0])))
	case m.kind != moveVerdict:
		return fmt.Errorf("cannot go on with the move: %v is not for this side", m.kind)
	}
	key := moveKey{m.server, m.batch}
	d.mu.Lock()
	sent := d.sent[key]
	delete(d.sent, key)
	d.mu.Unlock()
	v := moveVerdicts{batch: m.batch, refusals: make([]string, len(m.items))}
	for i, text := range m.items {
		if len(text) > 0 {
			v.refusals[i] = errorText(string(text))
		}
	}
	if err := sent.check(v.refusals); err != nil {
		return fmt.Errorf("cannot go on with the move: the verdict on batch %d of server %q: %w", m.batch, m.server, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.verdicts[m.server] = append(d.verdicts[m.server], v)
	return nil
}

func (d *Departure) register(key moveKey, sent moveSent) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return errMoveStopped
	}
	if _, twice := d.sent[key]; twice {
		return fmt.Errorf("cannot send batch %d of server %q twice", key.batch, key.server)
	}
	d.sent[key] = sent
	return nil
}

func (d *Departure) forget(key moveKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sent, key)
}

// why is the reason why there are no more verdicts.
func (d *Departure) why() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return errMoveStopped
	}
	return errMoveGone
}

func (d *Departure) stop() {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	// shutdown(2) and the other side's sendmsg(2) lock this socket: a verdict is in
	// its queue by now, or fails with EPIPE (unix_shutdown, unix_dgram_sendmsg in
	// the kernel). What is in the queue is read before EOF.
	d.link.conn.CloseRead()
}
