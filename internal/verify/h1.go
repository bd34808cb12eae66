package verify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// HTTP1 is HTTP/1.1 over a raw connection per worker.
type HTTP1 struct {
	// Label is the kind's name.
	Label string
	// Exchange makes the requests.
	Exchange func(*Request) Exchange
	// Fresh uses a new connection for each request, announced to the service
	// with `Connection: close`.
	Fresh bool
}

func (k HTTP1) Name() string { return k.Label }

func (k HTTP1) Open(t Target, workers int) ([]Sender, error) {
	if k.Exchange == nil {
		return nil, fmt.Errorf("kind %q has no Exchange to send", k.Label)
	}
	senders := make([]Sender, workers)
	for i := range senders {
		senders[i] = &h1{kind: k, target: t}
	}
	return senders, nil
}

// h1 is the client end of one connection after the other.
type h1 struct {
	kind   HTTP1
	target Target
	conn   net.Conn // nil: the next request connects
	ended  *ending  // reads from conn
	in     *bufio.Reader
	why    Connect // what the next connection will count as
}

// ending remembers how a connection ended: a parser that runs out of bytes may
// call what it has got malformed.
type ending struct {
	net.Conn
	err error
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	if err != nil {
		e.err = err
	}
	return n, err
}

func (s *h1) Send(ctx context.Context, r *Request) error {
	x := s.kind.Exchange(r)
	if s.conn == nil {
		if err := s.connect(ctx, r); err != nil {
			return err
		}
	}
	r.Via(s.conn)
	defer bindDeadline(ctx, s.conn)()

	if werr := s.write(ctx, r, x); werr != nil {
		// The service may have answered before it stopped reading, a 503 for
		// example; that answer is what a correct client goes by.
		a, rerr := s.read(ctx, x)
		s.drop(Unasked)
		if rerr == nil {
			if err := x.judge(r, a); err != nil {
				return err
			}
			return lossf(Wrong, "answered although the request was incomplete: %v", werr)
		}
		return rerr // says more than the failed write: a FIN that came before it, for example
	}
	a, err := s.read(ctx, x)
	if err != nil {
		s.drop(Unasked)
		return err
	}
	err = x.judge(r, a)
	if l := (*Loss)(nil); s.conn != nil && errors.As(err, &l) && l.Cause == Wrong {
		s.drop(Unasked) // whose answer comes next on this connection is anybody's guess
	}
	return err
}

func (s *h1) connect(ctx context.Context, r *Request) error {
	c, err := s.target.Dial(ctx, "http/1.1")
	if err != nil {
		if l := (*Loss)(nil); errors.As(err, &l) {
			return l
		}
		return dialLoss(err)
	}
	r.Connected(s.why)
	s.conn, s.ended = c, &ending{Conn: c}
	s.in = bufio.NewReader(s.ended)
	return nil
}

// drop closes the connection; why is what the next one counts as.
func (s *h1) drop(why Connect) {
	if s.conn == nil {
		return
	}
	s.conn.Close()
	s.conn, s.ended, s.in = nil, nil, nil
	if s.why = why; s.kind.Fresh {
		s.why = First
	}
}

func (s *h1) write(ctx context.Context, r *Request, x Exchange) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n", x.method(), x.Path, s.target.host(), IDHeader, r.ID)
	x.Header.Write(&b)
	if s.kind.Fresh {
		b.WriteString("Connection: close\r\n")
	}
	if x.method() != http.MethodGet {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(x.Body))
	}
	b.WriteString("\r\n")
	if len(x.Body) == 0 {
		_, err := s.conn.Write(b.Bytes())
		return err
	}
	// The head travels with the first piece, as a buffered client sends it.
	return x.pieces(ctx, func(piece []byte, _ bool) error {
		b.Write(piece)
		_, err := s.conn.Write(b.Bytes())
		b.Reset()
		return err
	})
}

// read reads one complete answer and drops the connection if the answer says
// that it will not be used again.
func (s *h1) read(ctx context.Context, x Exchange) (Answer, error) {
	if _, err := s.in.Peek(1); err != nil {
		return Answer{}, wireLoss(err, false)
	}
	for {
		resp, err := http.ReadResponse(s.in, &http.Request{Method: x.method()})
		if err != nil {
			return Answer{}, s.cutShort(err)
		}
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue // interim answers, RFC 9110, section 15.2
		}
		body, err := x.readBody(ctx, resp.Body)
		if err != nil {
			return Answer{}, s.cutShort(err)
		}
		if resp.Close || s.kind.Fresh {
			s.drop(Asked)
		}
		return Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
	}
}

// cutShort is the loss of a request whose answer had begun.
func (s *h1) cutShort(err error) error {
	if s.ended.err != nil {
		err = s.ended.err
	}
	return wireLoss(err, true)
}

func (s *h1) Close() error {
	s.drop(First)
	return nil
}

// bindDeadline makes I/O on c end with ctx; the function returned undoes it.
func bindDeadline(ctx context.Context, c net.Conn) (undo func()) {
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.SetDeadline(time.Unix(1, 0))
		close(done)
	})
	return func() {
		if !stop() {
			<-done // or it would end the next request's I/O
		}
	}
}
