package conns

import (
	"context"
	"io"
	"net/http"
	"testing"
)

func TestAnnounceTellsWithTheNextAnswer(t *testing.T) {
	in, out := make(chan bool), make(chan bool)
	h, g := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			in <- true
			<-out
		}
		hello(w, r)
	})}, listen(t))
	idle, busy := newClient(t, g.Addr()), newClient(t, g.Addr())
	if idle.get(t, "/").Close {
		t.Fatal("told before Announce")
	}
	go io.WriteString(busy, "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
	<-in
	h.Announce()
	h.Announce()
	out <- true
	if resp, body, err := busy.answer(); err != nil || body != "hello" || resp.StatusCode != 200 {
		t.Fatalf("in flight at Announce: %v %q %v", resp, body, err)
	}
	for _, c := range []*client{idle, busy, newClient(t, g.Addr())} {
		if !c.get(t, "/").Close {
			t.Error("not told")
		}
		if _, err := c.in.ReadByte(); err != io.EOF {
			t.Errorf("told, but the connection is open: %v", err)
		}
	}
	if err := h.Wait(budget(t, patience)); err != nil {
		t.Fatal(err)
	}
}

func TestWaitClosesNothing(t *testing.T) {
	h, g := serve(t, &http.Server{Handler: http.HandlerFunc(hello)}, listen(t))
	idle, silent := newClient(t, g.Addr()), newClient(t, g.Addr())
	idle.get(t, "/")
	until(t, "both are tracked", func() bool { s := h.Stats(); return s.Idle == 1 && s.New == 1 })
	h.Announce()
	ctx, cancel := context.WithCancel(context.Background())
	waited := make(chan error)
	go func() { waited <- h.Wait(ctx) }()
	until(t, "Wait", h.waiting.Load)
	cancel()
	if err := <-waited; err != context.Canceled {
		t.Fatal(err)
	}
	for _, c := range []*client{idle, silent} {
		if !c.get(t, "/").Close {
			t.Error("not told")
		}
	}
	if err := h.Wait(budget(t, patience)); err != nil {
		t.Fatal(err)
	}
}

func TestLeavingEndsAnEventStream(t *testing.T) {
	listens := make(chan struct{})
	h, g := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", eventStream)
		io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		leaving := Leaving(r.Context())
		close(listens)
		<-leaving
		io.WriteString(w, "retry: 1\n\n")
	})}, listen(t))
	c := newClient(t, g.Addr())
	io.WriteString(c, "GET /events?token=secret HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n")
	until(t, "the stream", func() bool { return h.Stats().SSE == 1 })
	<-listens
	use := h.InFlight()
	if len(use) != 1 || use[0].Kind != "sse" || use[0].Method != "GET" || use[0].Path != "/events" || use[0].Remote != c.LocalAddr().String() {
		t.Errorf("in flight: %+v", use)
	}
	h.Announce()
	if _, body, err := c.answer(); err != nil || body != "data: 1\n\nretry: 1\n\n" {
		t.Fatalf("%q %v", body, err)
	}
	if Leaving(context.Background()) != nil {
		t.Error("Leaving outside a server")
	}
}
