package verify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// SSE is a stream of server-sent events with ids, over HTTP/1.1. Each request of
// the run is one event that is awaited, so its latency includes the time
// between two events; use Rate 0. Ids must be contiguous, also over a reconnect,
// which the standard gives to every EventSource: it connects again with
// Last-Event-ID when the stream ends, however it ends. An orderly end counts as
// asked for, anything else as unasked. A reconnect that fails is a loss.
type SSE struct {
	// Label is the kind's name; empty means "sse".
	Label string
	// Path leads to the stream of a worker. nil means /sse of Handler, with Every
	// between two events.
	Path func(worker int) string
	// Event, if set, is the type of the events that count; another one's id says
	// where the stream stands, as every id does.
	Event string
	// Every is used when Path is nil; 0 means 50 ms.
	Every time.Duration
	// Check judges an event's data; nil means what Handler sends when Path is
	// nil too, and anything otherwise.
	Check func(worker, id int, data string) error
}

func (k SSE) Name() string {
	if k.Label == "" {
		return "sse"
	}
	return k.Label
}

// Listens says that a stream's requests may need the other kinds' to be answered.
func (k SSE) Listens() {}

func (k SSE) Open(t Target, workers int) ([]Sender, error) {
	if k.Every == 0 {
		k.Every = 50 * time.Millisecond
	}
	if k.Path == nil {
		k.Path = func(worker int) string {
			return fmt.Sprintf("/sse?stream=%s&ms=%d", url.QueryEscape(stream(worker)), k.Every.Milliseconds())
		}
		if k.Check == nil {
			k.Check = func(worker, id int, data string) error {
				if want := fmt.Sprintf("%s %d", stream(worker), id); data != want {
					return fmt.Errorf("the data is %q, want %q", data, want)
				}
				return nil
			}
		}
	}
	senders := make([]Sender, workers)
	for i := range senders {
		senders[i] = &sse{kind: k, target: t, last: -1}
	}
	return senders, nil
}

func stream(worker int) string { return "s" + strconv.Itoa(worker) }

// sse is one EventSource.
type sse struct {
	kind   SSE
	target Target
	conn   net.Conn // nil: connect
	events *eventReader
	last   int // id of the last event; -1 before the first
	why    Connect
	retry  time.Duration // what the service has asked to wait before a reconnect
}

func (s *sse) Send(ctx context.Context, r *Request) error {
	r.Unrecorded()
	// A stream may end before its first event, when a leaving service still
	// takes the reconnect; not for ever.
	for range attempts {
		if s.conn == nil {
			if err := s.connect(ctx, r); err != nil {
				return err
			}
		}
		r.Via(s.conn)
		undo := bindDeadline(ctx, s.conn)
		e, err := s.events.next()
		undo()
		if s.events.retry > 0 {
			s.retry = s.events.retry
		}
		if err == nil && s.kind.Event != "" && e.name != s.kind.Event {
			s.stand(e)
			continue
		}
		if err == nil {
			return s.judge(r, e)
		}
		if isTimeout(err) {
			s.drop(Unasked)
			return wireLoss(err, false)
		}
		if err == io.EOF {
			s.drop(Asked)
		} else {
			s.drop(Unasked)
		}
	}
	return lossf(EOF, "the stream has ended %d times without an event", attempts)
}

// stand takes the position from an event that does not count.
func (s *sse) stand(e event) {
	if id, err := strconv.Atoi(e.id); err == nil && s.last < 0 {
		s.last = id
	}
}

func (s *sse) judge(r *Request, e event) error {
	id, err := strconv.Atoi(e.id)
	if err != nil {
		return lossf(Wrong, "the event's id is %q, not a number", e.id)
	}
	last := s.last
	s.last = id
	if last >= 0 && id != last+1 {
		return lossf(Gap, "event %d follows event %d", id, last)
	}
	if s.kind.Check == nil {
		return nil
	}
	if err := s.kind.Check(r.Worker, id, e.data); err != nil {
		return &Loss{Cause: Wrong, Err: err}
	}
	return nil
}

func (s *sse) connect(ctx context.Context, r *Request) error {
	if s.why != First {
		if err := wait(ctx, s.retry); err != nil {
			return wireLoss(err, false)
		}
	}
	c, err := s.target.Dial(ctx, "http/1.1")
	if err != nil {
		if l := (*Loss)(nil); errors.As(err, &l) {
			return l
		}
		return dialLoss(err)
	}
	r.Connected(s.why)
	s.conn = c
	defer bindDeadline(ctx, c)()
	err = s.begin(r)
	if err != nil {
		s.drop(Unasked)
	}
	return err
}

// begin sends the request and reads the answer's head.
func (s *sse) begin(r *Request) error {
	var resume string
	if s.last >= 0 {
		resume = fmt.Sprintf("Last-Event-ID: %d\r\n", s.last)
	}
	_, werr := fmt.Fprintf(s.conn, "GET %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\nAccept: text/event-stream\r\n%s\r\n",
		s.kind.Path(r.Worker), s.target.host(), IDHeader, r.ID, resume)
	in := bufio.NewReader(s.conn)
	if _, err := in.Peek(1); err != nil {
		return wireLoss(errors.Join(err, werr), false)
	}
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodGet})
	if err != nil {
		return wireLoss(err, true)
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	switch {
	case resp.StatusCode >= 500:
		return lossf(Server, "status %d", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return lossf(Status, "status %d, want 200", resp.StatusCode)
	case kind != "text/event-stream":
		return lossf(Wrong, "the content is %q, not an event stream", kind)
	}
	s.events = newEventReader(resp.Body)
	return nil
}

func (s *sse) drop(why Connect) {
	if s.conn != nil {
		s.conn.Close()
		s.conn, s.events, s.why = nil, nil, why
	}
}

func (s *sse) Close() error {
	s.drop(First)
	return nil
}
