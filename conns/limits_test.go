//go:build unix

package conns

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func limited(t *testing.T, l Limits, handler http.Handler) (*HTTP, *Gate) {
	return serveWith(t, &http.Server{Handler: handler}, listen(t), func(h *HTTP) {
		h.SetLimits(l)
		h.SetPace(Pace{PerSecond: 1000})
	})
}

func TestHeartbeat(t *testing.T) {
	h, g := limited(t, Limits{Heartbeat: 100 * time.Millisecond, Misses: 5}, socket(func(c net.Conn, in *bufio.Reader, r *http.Request) {
		defer c.Close()
		for {
			if op, _, err := readFrame(in); err != nil || op == opClose {
				return
			}
		}
	}))
	alive, dead := upgraded(t, g.Addr()), upgraded(t, g.Addr())
	var pings atomic.Int64
	go func() {
		for {
			op, payload, err := readFrame(alive.in)
			if err != nil || op != opPing {
				break
			}
			pings.Add(1)
			if _, err := alive.Write(textFrame(opPong, string(payload))); err != nil {
				break
			}
		}
	}()
	n := 0
	for ; ; n++ {
		op, _, err := readFrame(dead.in)
		if err != nil {
			break
		}
		if op != opPing {
			t.Errorf("opcode %d", op)
		}
	}
	if n != 5 {
		t.Errorf("closed after %d pings", n)
	}
	until(t, "it is counted", func() bool { s := h.Stats().Live; return s.Dead == 1 && s.Closed == 1 && s.WebSocket.Normal == 1 })
	until(t, "more pings than one may miss", func() bool { return pings.Load() > 6 })
	if s := h.Stats().Live; s.Dead != 1 {
		t.Errorf("%+v", s)
	}
	alive.Close()
	gone(t, h)
}

// TestHeartbeatBetweenFragments: a message that lasts does not make a client dead.
func TestHeartbeatBetweenFragments(t *testing.T) {
	h, g := limited(t, Limits{Heartbeat: 20 * time.Millisecond, Misses: 100}, socket(func(c net.Conn, in *bufio.Reader, r *http.Request) {
		c.Write([]byte{opText, 1, 'a'})
		reading(c, in, r)
	}))
	c := upgraded(t, g.Addr())
	for i := range 6 {
		op, payload, err := readFrame(c.in)
		if want := map[bool]byte{true: opText, false: opPing}[i == 0]; err != nil || op != want {
			t.Fatalf("frame %d: opcode %d, %v", i, op, err)
		}
		if op == opPing {
			c.Write(textFrame(opPong, string(payload)))
			readFrame(c.in) // reading echoes it
		}
	}
	if s := h.Stats().Live; s.Dead != 0 {
		t.Errorf("%+v", s)
	}
}

func TestCommentsKeepAStreamOpen(t *testing.T) {
	_, g := limited(t, Limits{Heartbeat: 20 * time.Millisecond}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", eventStream)
		io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	c := newClient(t, g.Addr())
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n")
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "data: 1\n\n:\n\n:\n\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLimitsOfTime(t *testing.T) {
	for name, l := range map[string]Limits{
		reasonIdle:  {Idle: 100 * time.Millisecond, Heartbeat: 10 * time.Millisecond, Misses: 100},
		reasonTotal: {Total: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			h, g := limited(t, l, socket(func(c net.Conn, in *bufio.Reader, r *http.Request) {
				defer c.Close()
				for {
					if op, _, err := readFrame(in); err != nil || op == opClose {
						return
					}
				}
			}))
			began := time.Now()
			c := upgraded(t, g.Addr())
			for {
				op, payload, err := readFrame(c.in)
				if err != nil {
					t.Fatal(err)
				}
				if op == opPing {
					c.Write(textFrame(opPong, string(payload)))
				}
				if op == opClose {
					if s := string(payload); !strings.HasPrefix(s, "\x03\xe9") || s[2:] != name {
						t.Errorf("told %q", s)
					}
					c.Write(textFrame(opClose, string(payload)))
					break
				}
			}
			if d := time.Since(began); d < 100*time.Millisecond {
				t.Errorf("told after %v", d)
			}
			gone(t, h)
			if s := h.Stats().Live; s.Expired != 1 || s.Closed != 1 || len(h.Told()) > 0 {
				t.Errorf("%+v, told: %v", s, h.Told())
			}
		})
	}
}

func TestAgeMoves(t *testing.T) {
	p := &parcel{kind: kindWebSocket, head: []byte("x"), born: 12345}
	q, err := decodeParcel(p.encode())
	if err != nil || q.born != p.born {
		t.Errorf("%+v, %v", q, err)
	}
}

func TestNoMoreThanMax(t *testing.T) {
	h, g := limited(t, Limits{Max: 3}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			hello(w, r)
			return
		}
		socket(reading).ServeHTTP(w, r)
	}))
	var cs []*client
	for range 3 {
		cs = append(cs, upgraded(t, g.Addr()))
	}
	more := newClient(t, g.Addr())
	for range 2 {
		resp, _, err := more.ask(wsRequest)
		if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	if resp := more.get(t, "/"); resp.StatusCode != 200 { // an ordinary request is not one of them
		t.Errorf("status %d", resp.StatusCode)
	}
	if s := h.Stats().Live; s.Refused != 2 || s.WebSocket.Normal != 3 {
		t.Errorf("%+v", s)
	}
	cs[0].Close()
	until(t, "there is room", func() bool { return h.lives.open.Load() == 2 })
	more.upgrade(t)
}
