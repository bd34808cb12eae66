package conns

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/segue-go/segue/internal/tls13"
)

const (
	saveWithin = time.Second
	stateMost  = 32 << 20 // of one connection
)

// errGone is about a connection that its handler has closed.
var errGone = errors.New("the connection is closed")

// saved is what a user's function has returned; nil if there is none.
type saved struct {
	state []byte
	err   error
}

// saveAll has the states of connections saved, at the same time: all of them are
// held meanwhile.
func saveAll(holds []*hold) []*saved {
	late, cancel := context.WithTimeout(context.Background(), saveWithin)
	defer cancel()
	under := make([]<-chan *saved, len(holds))
	for i, h := range holds {
		h.c.gate.Lock()
		if l := h.c.live.Load(); l != nil && l.save != nil {
			under[i] = save(l.save)
		}
		h.c.gate.Unlock()
	}
	all := make([]*saved, len(holds))
	for i, result := range under {
		if result != nil {
			all[i] = await(late, result)
		}
	}
	return all
}

// save calls a user's function, which may hang or panic.
func save(state func() []byte) <-chan *saved {
	result := make(chan *saved, 1)
	go func() {
		s := &saved{err: errors.New("its Save did not return")}
		defer func() {
			if p := recover(); p != nil {
				s.err = fmt.Errorf("its Save panicked: %v", p)
			}
			result <- s
		}()
		s.state = state()
		if s.err = nil; len(s.state) > stateMost {
			s.state, s.err = nil, errors.New(reasonTooMuch)
		}
	}()
	return result
}

func await(late context.Context, result <-chan *saved) *saved {
	select {
	case s := <-result:
		return s
	case <-late.Done():
	}
	select { // it may have come while another was waited for
	case s := <-result:
		return s
	default:
		return &saved{err: fmt.Errorf("its Save took longer than %v", saveWithin)}
	}
}

// pack makes a parcel of a quiet connection. From then on its handler cannot
// close it.
func (h *hold) pack(s *saved) (*parcel, int, error) {
	c := h.c
	l := c.live.Load()
	p := &parcel{kind: kindHTTP1}
	if s != nil {
		if s.err != nil {
			return nil, 0, s.err
		}
		p.state, p.saved = s.state, true
	}
	c.mu.Lock()
	p.fresh = l == nil && c.begun == 0 && !c.adopted
	c.mu.Unlock()
	c.gate.Lock()
	defer c.gate.Unlock()
	if outcome(h.outcome.Load()) != undecided {
		return nil, 0, errGone
	}
	fd, err := c.descriptor()
	if err != nil {
		return nil, 0, err
	}
	if p.tls, err = exportTLS(c.stream); err != nil {
		return nil, 0, err
	}
	local, remote := c.LocalAddr(), c.RemoteAddr()
	p.network, p.local, p.remote = local.Network(), local.String(), remote.String()
	p.carry = append(append([]byte(nil), c.in.part.bytes()...), c.in.held.bytes()...)
	if l != nil {
		p.kind, p.head, p.answer, p.born = l.kind, l.head, l.out.answer, l.born.UnixNano()
		if l.kind == kindSSE {
			p.head = withField(l.head, "Last-Event-Id", h.lastID) // empty if it was reset
		}
	}
	h.sent = true
	return p, fd, nil
}

// pack saves the state of a group whose members are quiet.
func (m *Members) pack() ([]byte, error) {
	m.mu.Lock()
	state := m.save
	m.mu.Unlock()
	if state == nil {
		return nil, nil
	}
	late, cancel := context.WithTimeout(context.Background(), saveWithin)
	defer cancel()
	s := await(late, save(state))
	return s.state, s.err
}

// exportable reports whether an encrypted stream can go on in another process, and
// if not, why. A stream that has come from another process is tls13's own, whose
// state needs no probe.
func (h *HTTP) exportable(stream any) (reason string) {
	tc, ok := stream.(*tls.Conn)
	switch {
	case !ok:
		return ""
	case tc.ConnectionState().Version != tls.VersionTLS13:
		return reasonTLS
	}
	err := h.probeTLS()
	if err == nil {
		return ""
	}
	h.warnTLS.Do(func() {
		h.logf("conns: connections over TLS do not move to the new version, and are told to come back: %v. "+
			"They move with a release of segue that knows %s, and not in FIPS 140-3 mode", err, runtime.Version())
	})
	return reasonNoExport
}

// exportTLS returns what another process needs to go on; nil without TLS.
func exportTLS(stream any) ([]byte, error) {
	var state tls13.State
	var err error
	switch s := stream.(type) {
	case *tls13.Conn:
		state, err = s.State()
	case *tls.Conn:
		state, err = tls13.Export(s)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("its TLS cannot be continued: %w", err)
	}
	return state.MarshalBinary()
}
