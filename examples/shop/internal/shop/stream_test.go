package shop_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// stream is a client of the order stream.
type stream struct {
	t      *testing.T
	res    *http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
	last   string // id of the last event
	retry  string
	said   []string // comments
}

func (g *generation) stream(lastEventID string) *stream {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, "GET", g.URL+"/api/orders/stream", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	res, err := g.Client().Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || kind != "text/event-stream" {
		g.t.Fatalf("stream: %s %s", res.Status, kind)
	}
	s := &stream{t: g.t, res: res, lines: bufio.NewScanner(res.Body), cancel: cancel}
	g.t.Cleanup(s.close)
	return s
}

func (s *stream) close() {
	s.cancel()
	s.res.Body.Close()
}

// next reads to the next event and returns its type and data; "" at the end.
func (s *stream) next() (event, data string) {
	s.t.Helper()
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			s.last = value
		case "event":
			event = value
		case "data":
			data = value
		case "retry":
			s.retry = value
		case "":
			if s.lines.Text() == "" && data != "" {
				return event, data
			}
			if value != "" {
				s.said = append(s.said, value)
			}
		}
	}
	if err := s.lines.Err(); err != nil {
		s.t.Errorf("the stream broke: %v", err)
	}
	return "", ""
}

func (s *stream) wantOrders(first, last int64) {
	s.t.Helper()
	for id := first; id <= last; id++ {
		event, data := s.next()
		if event != "order" || s.last != strconv.FormatInt(id, 10) || !strings.Contains(data, fmt.Sprintf(`{"id":%d,`, id)) {
			s.t.Fatalf("got %q id %s %s, want order %d", event, s.last, data, id)
		}
	}
}

func (s *stream) wantOpen(after int64) {
	s.t.Helper()
	if event, data := s.next(); event != "open" || s.last != strconv.FormatInt(after, 10) {
		s.t.Fatalf("got %q id %s %s, want open after %d", event, s.last, data, after)
	}
}

func TestStreamBeginsWithTheNextOrder(t *testing.T) {
	g := start(t, t.TempDir())
	g.order("before")
	s := g.stream("")
	s.wantOpen(1)
	g.order("after")
	s.wantOrders(2, 2)
}

func TestStreamResumesInAnotherGeneration(t *testing.T) {
	dir := t.TempDir()
	old := start(t, dir)
	s := old.stream("")
	s.wantOpen(0)
	for i := range 3 {
		old.order(fmt.Sprintf("old-%d", i))
	}
	s.wantOrders(1, 3)

	young := start(t, dir)
	young.order("young-0") // reaches the old one's stream through the database
	s.wantOrders(4, 4)

	old.leave()
	if event, data := s.next(); event != "" {
		t.Errorf("%s %s after leaving", event, data)
	}
	if len(s.said) == 0 || !strings.Contains(s.said[len(s.said)-1], "leaving") {
		t.Errorf("the stream ended without a goodbye: %q", s.said)
	}
	if ms, err := strconv.Atoi(s.retry); err != nil || ms < 50 || ms > 1000 {
		t.Errorf("retry %q after leaving", s.retry)
	}
	for i := 1; i <= 3; i++ {
		young.order(fmt.Sprintf("young-%d", i))
	}
	again := young.stream(s.last)
	again.wantOpen(4)
	again.wantOrders(5, 7)
}

// More than the feed keeps in memory, then live ones.
func TestStreamCatchesUp(t *testing.T) {
	g := start(t, t.TempDir())
	const many = 1500
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < many; i += 4 {
				g.order(fmt.Sprintf("r-%d", i))
			}
		})
	}
	early := g.stream("0")
	early.wantOpen(0)
	early.wantOrders(1, many)
	wg.Wait()
	late := g.stream("10")
	late.wantOpen(10)
	late.wantOrders(11, many)
	g.order("live")
	early.wantOrders(many+1, many+1)
	late.wantOrders(many+1, many+1)
}

func TestStreamOfAnUnknownPlace(t *testing.T) {
	g := start(t, t.TempDir())
	g.order("one")
	s := g.stream("4711") // this database never had one
	s.wantOpen(1)
	if res, body := g.do("GET", "/api/orders/stream", "", "Last-Event-ID", "x"); res.StatusCode != 400 {
		t.Errorf("%s %s", res.Status, body)
	}
}

// A client that goes away must not leave a handler behind: goleak would tell.
func TestStreamClientGoesAway(t *testing.T) {
	g := start(t, t.TempDir())
	for range 5 {
		s := g.stream("")
		s.wantOpen(0)
		s.close()
	}
}

// A client that was sent away must not come back on the old connection.
func TestStreamEndsItsConnection(t *testing.T) {
	g := start(t, t.TempDir())
	g.leave()
	s := g.stream("")
	s.wantOpen(0)
	s.next()
	if !s.res.Close {
		t.Error("the connection of a stream is kept alive")
	}
}
