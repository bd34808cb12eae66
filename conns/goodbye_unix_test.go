//go:build unix

package conns

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func hello(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	io.WriteString(w, "hello")
}

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
	h, g := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", eventStream)
		io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		<-Leaving(r.Context())
		io.WriteString(w, "retry: 1\n\n")
	})}, listen(t))
	c := newClient(t, g.Addr())
	io.WriteString(c, "GET /events?token=secret HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n")
	until(t, "the stream", func() bool { return h.Stats().SSE == 1 })
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

// The claim: busy clients that keep their connections, never retry, and pause
// for random times lose nothing when their server leaves, again and again. Each
// generation is an HTTP on a new Gate over the same socket.
func TestGenerationsLoseNoRequest(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	root := NewGate(listen(t)) // keeps the socket; never accepts
	defer root.Close()

	type generation struct {
		h    *HTTP
		g    *Gate
		done chan error
	}
	start := func() generation {
		h, g := NewHTTP(&http.Server{Handler: http.HandlerFunc(work)}), NewGate(share(t, root))
		done := make(chan error, 1)
		go func() { done <- h.Serve(g) }()
		return generation{h, g, done}
	}
	old := start()

	var asked, dialled atomic.Int64
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for i := range 16 {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			var c *client
			for {
				select {
				case <-stop:
					if c != nil {
						c.Close()
					}
					return
				default:
				}
				if c == nil {
					c = newClient(t, root.Addr())
					dialled.Add(1)
				}
				resp, body, err := c.ask(randomRequest(rng))
				asked.Add(1)
				if err != nil || resp.StatusCode != 200 || body != "done" {
					t.Errorf("lost: %v %q %v", resp, body, err)
					c.Close()
					c = nil
					continue
				}
				if resp.Close {
					c.Close()
					c = nil
				}
				if pause := rng.IntN(8); pause > 4 {
					<-time.After(time.Duration(pause) * time.Millisecond / 2)
				}
			}
		})
	}
	const restarts = 20
	for range restarts {
		goal := asked.Load() + 200
		until(t, "work", func() bool { return asked.Load() >= goal })
		next := start()
		old.g.Shut()
		old.h.Announce()
		if err := old.h.Wait(budget(t, patience)); err != nil {
			t.Errorf("Wait: %v, left: %+v", err, old.h.Stats())
		}
		if cut := old.h.Cut(); len(cut) > 0 {
			t.Errorf("cut: %+v", cut)
		}
		if err := old.h.Shutdown(budget(t, patience)); err != nil {
			t.Error(err)
		}
		if err := <-old.done; err != nil {
			t.Error(err)
		}
		old = next
	}
	close(stop)
	clients.Wait()
	t.Logf("%d requests on %d connections over %d restarts", asked.Load(), dialled.Load(), restarts)
	old.h.Shutdown(budget(t, patience))
	<-old.done
}

// work answers at once, or after a while.
func work(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	if r.URL.Path == "/slow" {
		<-time.After(5 * time.Millisecond)
	}
	io.WriteString(w, "done")
}

func randomRequest(rng *rand.Rand) string {
	switch n := rng.IntN(10); {
	case n < 6:
		return "GET / HTTP/1.1\r\nHost: test\r\n\r\n"
	case n < 8:
		body := make([]byte, rng.IntN(2048))
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	default:
		return "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n"
	}
}
