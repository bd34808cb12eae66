package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// attempts bounds how often one request may be turned away by GOAWAY before it
// counts as lost: a server that turns everybody away serves nobody.
const attempts = 10

// HTTP2 is HTTP/2, over TLS with ALPN when the target has TLS, otherwise h2c
// with prior knowledge. Workers share connections, so that a GOAWAY meets
// streams in every state.
type HTTP2 struct {
	// Label is the kind's name.
	Label string
	// Exchange makes the requests.
	Exchange func(*Request) Exchange
	// Conns is the number of connections the workers share; 0 means 1.
	Conns int
}

func (k HTTP2) Name() string { return k.Label }

func (k HTTP2) Open(t Target, workers int) ([]Sender, error) {
	if k.Exchange == nil {
		return nil, fmt.Errorf("kind %q has no Exchange to send", k.Label)
	}
	pools := make([]*h2pool, max(k.Conns, 1))
	for i := range pools {
		pools[i] = &h2pool{target: t, turn: make(chan struct{}, 1)}
	}
	senders := make([]Sender, workers)
	for i := range senders {
		senders[i] = &h2{kind: k, pool: pools[i%len(pools)]}
	}
	return senders, nil
}

// h2pool is one connection after the other, shared by some workers.
type h2pool struct {
	target Target
	turn   chan struct{} // held while choosing and connecting
	conn   *h2conn
	old    []*h2conn // may still have streams
}

// get returns a connection that takes streams.
func (p *h2pool) get(ctx context.Context, r *Request) (*h2conn, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, wireLoss(ctx.Err(), false)
	}
	why := First
	if p.conn != nil {
		ok, asked := p.conn.usable()
		if ok {
			return p.conn, nil
		}
		if why = Unasked; asked {
			why = Asked
		}
	}
	c, err := p.target.Dial(ctx, "h2")
	if err != nil {
		if l := (*Loss)(nil); errors.As(err, &l) {
			return nil, l
		}
		return nil, dialLoss(err)
	}
	conn, err := newH2conn(c)
	if err != nil {
		return nil, wireLoss(err, false)
	}
	r.Connected(why)
	p.old = slices.DeleteFunc(p.old, (*h2conn).ended)
	if p.conn != nil {
		p.old = append(p.old, p.conn)
	}
	p.conn = conn
	return conn, nil
}

func (p *h2pool) close() {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	for _, c := range p.old {
		c.close()
	}
	if p.old = nil; p.conn != nil {
		p.conn.close()
	}
	p.conn = nil
}

type h2 struct {
	kind HTTP2
	pool *h2pool
}

// Close closes what the workers share; the second to do so finds nothing.
func (s *h2) Close() error {
	s.pool.close()
	return nil
}

func (s *h2) Send(ctx context.Context, r *Request) error {
	x := s.kind.Exchange(r)
	for range attempts {
		conn, err := s.pool.get(ctx, r)
		if err != nil {
			return err
		}
		r.Via(conn.c)
		a, err := conn.exchange(ctx, s.fields(r, x), x)
		if errors.Is(err, errNotOpened) || errors.Is(err, errAboveGoaway) {
			continue // nothing was processed: RFC 9113, section 8.7
		}
		if err != nil {
			if l := (*Loss)(nil); errors.As(err, &l) {
				return l
			}
			return wireLoss(err, false)
		}
		return x.judge(r, a)
	}
	return lossf(Refused, "turned away %d times by GOAWAY or a closing connection", attempts)
}

func (s *h2) fields(r *Request, x Exchange) []hpack.HeaderField {
	scheme := "http"
	if s.pool.target.TLS != nil {
		scheme = "https"
	}
	f := []hpack.HeaderField{
		{Name: ":method", Value: x.method()},
		{Name: ":scheme", Value: scheme},
		{Name: ":authority", Value: s.pool.target.host()},
		{Name: ":path", Value: x.Path},
		{Name: strings.ToLower(IDHeader), Value: r.ID},
	}
	if len(x.Body) > 0 {
		f = append(f, hpack.HeaderField{Name: "content-length", Value: strconv.Itoa(len(x.Body))})
	}
	for name, values := range x.Header {
		for _, v := range values {
			f = append(f, hpack.HeaderField{Name: strings.ToLower(name), Value: v})
		}
	}
	return f
}

// exchange carries one request on a stream of its own.
func (h *h2conn) exchange(ctx context.Context, fields []hpack.HeaderField, x Exchange) (Answer, error) {
	defer context.AfterFunc(ctx, h.wake)()
	st, err := h.open(ctx, fields, len(x.Body) == 0)
	if err != nil {
		return Answer{}, err
	}
	defer h.release(st)
	if len(x.Body) > 0 {
		if err := x.pieces(ctx, func(piece []byte, last bool) error {
			return h.sendBody(ctx, st, piece, last)
		}); err != nil && err != errOver {
			return Answer{}, err
		}
	}
	body, err := x.readBody(ctx, streamReader{ctx, h, st})
	if err != nil {
		return Answer{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	status, err := strconv.Atoi(st.status)
	if err != nil {
		return Answer{}, lossf(Malformed, "the status is %q", st.status)
	}
	if n := st.header.Get("Content-Length"); n != "" && n != strconv.Itoa(len(body)) {
		return Answer{}, lossf(Truncated, "%d bytes of a body of %s", len(body), n)
	}
	return Answer{Status: status, Header: st.header, Body: body}, nil
}

// streamReader is a stream's body as an io.Reader.
type streamReader struct {
	ctx context.Context
	h   *h2conn
	st  *h2stream
}

var _ io.Reader = streamReader{}

func (s streamReader) Read(p []byte) (int, error) { return s.h.recv(s.ctx, s.st, p) }
