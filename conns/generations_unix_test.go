//go:build unix

package conns

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

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
