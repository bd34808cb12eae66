//go:build unix

package conns

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestStayedIsTold: who has saved, and was not taken, is told to go on.
func TestStayedIsTold(t *testing.T) {
	saved, again := make(chan string, 10), make(chan string, 10)
	p := newPair(t, nil, func(g string) http.Handler {
		if g == "new" {
			return http.NotFoundHandler()
		}
		return wsEcho(g, func(r *http.Request) {
			Movable(r.Context())
			Save(r.Context(), func() []byte { saved <- g; return nil })
			Stayed(r.Context(), func() { again <- g })
		})
	})
	c := newClient(t, p.ln.Addr())
	c.upgrade(t)
	p.gate.Shut()
	if d := p.old.Move(budget(t, patience), newFerry(t, p.new)); len(d.Moved) != 0 {
		t.Fatalf("moved: %+v", d)
	}
	for _, told := range []chan string{saved, again} {
		select {
		case g := <-told:
			if g != "old" {
				t.Errorf("told by %s", g)
			}
		case <-time.After(patience):
			t.Fatal("nobody is told")
		}
	}
	if got := c.say(t, "x"); got != "old:x" {
		t.Errorf("got %q", got)
	}
}

// TestDeadlineWaitsForTheVerdict: the read deadline of the new handler does not run
// while it is kept from reading.
func TestDeadlineWaitsForTheVerdict(t *testing.T) {
	const deadline = 500 * time.Millisecond
	p := newPair(t, nil, func(g string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if g == "new" && r.URL.Path == "/slow" {
				<-time.After(deadline * 3 / 2) // a slow neighbour in the same batch
			}
			if g == "new" {
				w = deadlined{w, deadline}
			}
			wsEcho(g, movable).ServeHTTP(w, r)
		})
	})
	slow, c := newClient(t, p.ln.Addr()), newClient(t, p.ln.Addr())
	for path, c := range map[string]*client{"/slow": slow, "/quick": c} {
		io.WriteString(c, strings.Replace(wsRequest, "/ws", path, 1))
		if resp, err := http.ReadResponse(c.in, nil); err != nil || resp.StatusCode != 101 {
			t.Fatal(err)
		}
	}
	if d := p.move(t); d.Moved["websocket"] != 2 {
		t.Fatalf("departed: %+v", d)
	}
	if got := c.say(t, "x"); got != "new:x" {
		t.Errorf("got %q", got)
	}
}

// deadlined sets a read deadline as soon as the connection is hijacked.
type deadlined struct {
	http.ResponseWriter
	d time.Duration
}

func (w deadlined) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := w.ResponseWriter.(http.Hijacker).Hijack()
	if err == nil {
		c.SetReadDeadline(time.Now().Add(w.d))
	}
	return c, rw, err
}
