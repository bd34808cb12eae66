package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/segue-go/segue/conns"
)

// ServeEvents answers GET /events?topic=NAME with the events of a topic. Their
// numbers are ids, and Last-Event-ID says where to go on: that is all it takes
// for the stream to move, and for a client that was cut off to lose nothing.
func (b *Bus) ServeEvents(w http.ResponseWriter, r *http.Request) {
	topic := r.FormValue("topic")
	s := beginStream(w)
	last, err := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	if err != nil { // new here: it learns where it is before the first event comes
		last = b.Newest(topic)
		err = s.send("id: %d\nevent: open\ndata: %d\n\n", last, last)
	}
	for leaving := conns.Leaving(r.Context()); err == nil; {
		events, changed := b.After(topic, last)
		for _, text := range events {
			last++
			if err = s.send("id: %d\ndata: %s\n\n", last, text); err != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-leaving:
			err = s.goodbye()
		case <-r.Context().Done():
			return
		}
	}
}

// ticks answers with events that have no ids. Nobody could say where such a
// stream goes on, so it moves only where its route says that this does not matter.
func ticks(w http.ResponseWriter, r *http.Request) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	s := beginStream(w)
	leaving := conns.Leaving(r.Context())
	for {
		var err error
		select {
		case now := <-tick.C:
			err = s.send("data: %d\n\n", now.UnixNano())
		case <-leaving:
			err = s.goodbye()
		case <-r.Context().Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// stream writes server-sent events, each at once.
type stream struct {
	w       io.Writer
	control *http.ResponseController
}

func beginStream(w http.ResponseWriter) stream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	s := stream{w, http.NewResponseController(w)}
	_ = s.control.Flush() // the head at once: the first event may be far away
	return s
}

// send writes one event: whole, since a stream can only move between two.
func (s stream) send(format string, args ...any) error {
	if _, err := fmt.Fprintf(s.w, format, args...); err != nil {
		return err
	}
	return s.control.Flush()
}

// goodbye asks the client to come back soon, and ends the stream.
func (s stream) goodbye() error {
	_ = s.send("retry: 100\n\n")
	return io.EOF
}
