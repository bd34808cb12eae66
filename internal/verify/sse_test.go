package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

func sseLoad() []Load { return []Load{{Kind: SSE{Every: 5 * time.Millisecond}, Workers: 3}} }

func TestSSEPerfectService(t *testing.T) {
	a, path := applied(t)
	target := delayed(t, service(t, &http.Server{Handler: &Handler{Applied: a}}, ""))
	perfect(t, drive(t, Options{Target: target, Loads: sseLoad()}, path, EachSent(60, nil)))
}

// A service that leaves ends its streams; the ids go on where they were.
func TestSSEReconnects(t *testing.T) {
	var left atomic.Int64
	h := &Handler{Leaving: func(ctx context.Context) <-chan struct{} {
		if left.Add(1) > 3 {
			return nil // the reconnect
		}
		c := make(chan struct{})
		time.AfterFunc(50*time.Millisecond, func() { close(c) })
		return c
	}}
	target := delayed(t, service(t, &http.Server{Handler: h}, ""))
	res := drive(t, Options{Target: target, Loads: sseLoad()}, "", EachSent(150, nil))
	if err := res.Err(); err != nil {
		t.Error(err)
	}
	if res.Total.Asked != 3 || res.Total.Unasked != 0 {
		t.Errorf("reconnects: %d asked for, %d not", res.Total.Asked, res.Total.Unasked)
	}
}

// A stream may open with an event that only says where it stands.
func TestSSECountsOneTypeOfEvent(t *testing.T) {
	stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		after, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
		fmt.Fprintf(w, "id: %d\nevent: open\ndata: %d\n\n", after, after)
		for id := after + 1; id <= after+3; id++ { // then it ends, in order
			fmt.Fprintf(w, "id: %d\nevent: order\ndata: x\n\n", id)
		}
	})
	target := service(t, &http.Server{Handler: stream}, "")
	load := []Load{{Kind: SSE{Path: func(int) string { return "/" }, Event: "order"}, Workers: 2}}
	res := drive(t, Options{Target: target, Loads: load}, "", EachSent(20, nil))
	if err := res.Err(); err != nil || res.Total.Asked == 0 {
		t.Errorf("asked %d, %v", res.Total.Asked, err)
	}
}

func TestSSEFaultsAreFound(t *testing.T) {
	send := func(w http.ResponseWriter, ids ...int) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, id := range ids {
			fmt.Fprintf(w, "id: %d\ndata: s0 %d\n\n", id, id)
		}
		http.NewResponseController(w).Flush()
	}
	for _, tt := range []struct {
		name           string
		first          http.HandlerFunc // answers the first connection; the second is right
		lost           int
		cause          Cause
		asked, unasked int
	}{
		{"skips an event", func(w http.ResponseWriter, r *http.Request) { send(w, 1, 2, 4) }, 1, Gap, 1, 0},
		{"repeats an event", func(w http.ResponseWriter, r *http.Request) { send(w, 1, 2, 2, 3) }, 1, Gap, 1, 0},
		{"mixes streams up", func(w http.ResponseWriter, r *http.Request) {
			send(w, 1)
			fmt.Fprint(w, "id: 2\ndata: s7 2\n\n")
		}, 1, Wrong, 1, 0},
		{"is cut between two events", func(w http.ResponseWriter, r *http.Request) {
			send(w, 1, 2)
			panic(http.ErrAbortHandler)
		}, 0, "", 0, 1},
		{"answers 503", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", http.StatusServiceUnavailable) }, 1, Server, 0, 1},
		{"has no ids", func(w http.ResponseWriter, r *http.Request) {
			send(w)
			fmt.Fprint(w, "data: s0 1\n\n")
		}, 1, Wrong, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var conns atomic.Int64
			h := &Handler{}
			target := service(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if conns.Add(1) == 1 {
					tt.first(w, r)
					return
				}
				h.ServeHTTP(w, r)
			})}, "")
			res := drive(t, Options{Target: target, Loads: []Load{{Kind: SSE{Every: time.Millisecond}}}}, "", EachSent(30, nil))
			if res.Total.Lost != tt.lost || res.Total.Causes[tt.cause] != tt.lost || res.Total.Asked != tt.asked || res.Total.Unasked != tt.unasked {
				t.Errorf("%d lost (%v), reconnects asked for %d, not asked for %d\n%v",
					res.Total.Lost, res.Total.Causes, res.Total.Asked, res.Total.Unasked, res.Err())
			}
		})
	}
}

func TestEventReader(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []event
	}{
		{"", nil},
		{"id: 1\ndata: a\n\n", []event{{id: "1", data: "a"}}},
		{"id: 1\r\ndata: a\r\n\r\ndata: b\r\n\r\n", []event{{id: "1", data: "a"}, {id: "1", data: "b"}}},
		{"id:1\rdata:a\r\rdata:b\r\r", []event{{id: "1", data: "a"}, {id: "1", data: "b"}}},
		{": comment\n\nid: 7\n\ndata\n\n", []event{{id: "7", data: ""}}},
		{"data: two\ndata: lines\nevent: x\nnonsense\n\n", []event{{name: "x", data: "two\nlines"}}},
		{"id: 1\ndata: incomplete\n", nil},
		{"id: a\x00b\ndata: x\n\n", []event{{data: "x"}}},
	} {
		if got := events(t, strings.NewReader(tt.in)); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
	r := newEventReader(strings.NewReader("retry: 250\n\n"))
	if _, err := r.next(); err != io.EOF || r.retry != 250*time.Millisecond {
		t.Errorf("retry %v, %v", r.retry, err)
	}
	r = newEventReader(strings.NewReader("data: " + strings.Repeat("x", 2*maxEvent)))
	if _, err := r.next(); !errors.Is(err, errEventTooLong) {
		t.Errorf("an endless event: %v", err)
	}
}

func events(t *testing.T, in io.Reader) []event {
	t.Helper()
	var all []event
	r := newEventReader(in)
	for {
		e, err := r.next()
		if err != nil {
			if err != io.EOF && !errors.Is(err, errEventTooLong) {
				t.Fatal(err)
			}
			return all
		}
		all = append(all, e)
	}
}

func FuzzEventReader(f *testing.F) {
	f.Add("id: 1\ndata: a\n\n")
	f.Add("id:1\rdata:a\r\n\r\n\ndata\n\n: x\nretry: 9\n")
	f.Fuzz(func(t *testing.T, in string) {
		// How the bytes arrive must not matter, nor which line ends are used.
		a := events(t, strings.NewReader(in))
		b := events(t, iotest.OneByteReader(strings.NewReader(in)))
		if !slices.Equal(a, b) {
			t.Fatalf("%q in one piece, %q byte by byte", a, b)
		}
		if !strings.Contains(in, "\r") {
			if c := events(t, strings.NewReader(strings.ReplaceAll(in, "\n", "\r\n"))); !slices.Equal(a, c) {
				t.Fatalf("%q with LF, %q with CRLF", a, c)
			}
		}
		for _, e := range a {
			if strings.ContainsAny(e.id, "\r\n\x00") || strings.Contains(e.data, "\r") {
				t.Fatalf("event %q", e)
			}
		}
	})
}
