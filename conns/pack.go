package conns

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/segue-go/segue/internal/tls13"
)

// errGone is about a connection that its handler has closed.
var errGone = errors.New("the connection is closed")

// pack makes a parcel of a quiet connection. From then on its handler cannot
// close it.
func (h *hold) pack() (*parcel, int, error) {
	c := h.c
	l := c.live.Load()
	p := &parcel{kind: kindHTTP1}
	if l != nil {
		c.gate.Lock()
		save := l.save
		c.gate.Unlock()
		if save != nil {
			var err error
			if p.state, err = saved(save); err != nil {
				return nil, 0, err
			}
			p.saved = true
		}
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
		p.kind, p.head, p.answer = l.kind, l.head, l.out.answer
		if l.kind == kindSSE {
			p.head = withField(l.head, "Last-Event-Id", string(l.out.events.lastID)) // empty if it was reset
		}
	}
	h.sent = true
	return p, fd, nil
}

// pack saves the state of a group whose members are quiet.
func (m *Members) pack() ([]byte, error) {
	m.mu.Lock()
	save := m.save
	m.mu.Unlock()
	if save == nil {
		return nil, nil
	}
	state, err := saved(save)
	if err != nil {
		return nil, fmt.Errorf("its group stays: %w", err)
	}
	return state, nil
}

// saved calls a user's function, which may hang or panic.
func saved(save func() []byte) ([]byte, error) {
	type result struct {
		state []byte
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("its Save panicked: %v", p)
			}
			done <- r
		}()
		r.state = save()
	}()
	late := time.NewTimer(saveWithin)
	defer late.Stop()
	select {
	case r := <-done:
		return r.state, r.err
	case <-late.C:
		return nil, fmt.Errorf("its Save took longer than %v", saveWithin)
	}
}

// exportable reports whether an encrypted stream can go on in another process.
func exportable(stream any) bool {
	switch s := stream.(type) {
	case *tls13.Conn:
		return true
	case *tls.Conn:
		return s.ConnectionState().Version == tls.VersionTLS13 && tls13.Supported() == nil
	}
	return false
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
