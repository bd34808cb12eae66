//go:build unix

package conns

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// socket is a WebSocket handler that leaves everything but the upgrade to serve.
func socket(serve func(c net.Conn, in *bufio.Reader, r *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")
		serve(c, rw.Reader, r)
	})
}

// reading is how most handlers are: they read until that fails.
func reading(c net.Conn, in *bufio.Reader, _ *http.Request) {
	defer c.Close()
	for {
		op, payload, err := readFrame(in)
		if err != nil {
			return
		}
		c.Write(textFrame(op, string(payload)))
		if op == opClose {
			return
		}
	}
}

// goodbye reads messages up to a Close frame, answers it, and wants nothing but
// the end of the connection behind it.
func (c *client) goodbye(t testing.TB) (code uint16, before []string) {
	t.Helper()
	for {
		op, payload, err := readFrame(c.in)
		if err != nil {
			t.Fatalf("no goodbye after %d messages: %v", len(before), err)
		}
		if op != opClose {
			before = append(before, string(payload))
			continue
		}
		c.Write(textFrame(opClose, string(payload)))
		if n, err := io.Copy(io.Discard, c.in); n > 0 || err != nil {
			t.Errorf("after the goodbye: %d bytes, %v", n, err)
		}
		return binary.BigEndian.Uint16(payload), before
	}
}

func upgraded(t testing.TB, addr net.Addr) *client {
	c := newClient(t, addr)
	c.upgrade(t)
	return c
}

func gone(t testing.TB, h *HTTP) {
	t.Helper()
	if err := h.Wait(budget(t, patience)); err != nil {
		t.Fatalf("left: %+v", h.Stats())
	}
}

func TestGoodbyeToAReader(t *testing.T) {
	for _, test := range []struct {
		name string
		want uint16
		tell func(h *HTTP, g *Gate)
	}{
		{"restart", closeRestart, func(h *HTTP, g *Gate) { g.Shut(); h.Announce() }},
		{"stop", closeGoingAway, func(h *HTTP, g *Gate) { h.Refuse(time.Second) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			ended := make(chan byte, 1)
			h, g := serve(t, &http.Server{Handler: socket(func(c net.Conn, in *bufio.Reader, r *http.Request) {
				op, _, _ := readFrame(in)
				reply := textFrame(opClose, "\x03\xe8twice")
				if n, err := c.Write(reply); n != len(reply) || err != nil {
					t.Errorf("the answer to the answer: %d, %v", n, err)
				}
				if _, err := c.Write(textFrame(opText, "more")); !errors.Is(err, net.ErrClosed) {
					t.Errorf("a message after the goodbye: %v", err)
				}
				c.Close()
				ended <- op
			})}, listen(t))
			c := upgraded(t, g.Addr())
			test.tell(h, g)
			if code, before := c.goodbye(t); code != test.want || len(before) > 0 {
				t.Errorf("told %d after %q", code, before)
			}
			if op := <-ended; op != opClose {
				t.Errorf("the handler has read opcode %d", op)
			}
			gone(t, h)
			if told := h.Told(); told[h.whyStay()] != 1 || len(told) != 1 {
				t.Errorf("told: %v", told)
			}
		})
	}
}

// TestGoodbyeAmongWriters: messages remain whole, and nothing follows the goodbye.
func TestGoodbyeAmongWriters(t *testing.T) {
	var writers sync.WaitGroup
	h, g := serve(t, &http.Server{Handler: socket(func(c net.Conn, in *bufio.Reader, r *http.Request) {
		for i := range 8 {
			writers.Go(func() {
				for n := 0; ; n++ {
					f := textFrame(opText, fmt.Sprintf("%d %d %s", i, n, strings.Repeat("x", n%2000)))
					if _, err := c.Write(f); err != nil {
						if !errors.Is(err, net.ErrClosed) {
							t.Errorf("writer %d: %v", i, err)
						}
						return
					}
				}
			})
		}
		reading(c, in, r)
	})}, listen(t))
	c := upgraded(t, g.Addr())
	for range 100 {
		if _, _, err := readFrame(c.in); err != nil {
			t.Fatal(err)
		}
	}
	g.Shut()
	h.Announce()
	if code, _ := c.goodbye(t); code != closeRestart {
		t.Errorf("told %d", code)
	}
	gone(t, h)
	writers.Wait()
}

// TestGoodbyeInAMessage: it waits for the last fragment.
func TestGoodbyeInAMessage(t *testing.T) {
	begun, finish := make(chan bool), make(chan bool)
	h, g := serve(t, &http.Server{Handler: socket(func(c net.Conn, in *bufio.Reader, r *http.Request) {
		c.Write([]byte{opText, 2, 'a', 'b'})
		close(begun)
		<-finish
		c.Write([]byte{opContinuation, 1, 'c'})
		c.Write([]byte{0x80 | opContinuation, 1, 'd', 0x80 | opText, 1, 'e'})
		reading(c, in, r)
	})}, listen(t))
	c := upgraded(t, g.Addr())
	<-begun
	g.Shut()
	h.Announce()
	until(t, "its turn", func() bool { return h.Stats().Live.WebSocket.Draining == 1 })
	close(finish)
	if code, before := c.goodbye(t); code != closeRestart || strings.Join(before, "|") != "ab|c|d" {
		t.Errorf("told %d after %q", code, before)
	}
	gone(t, h)
}

// TestGoodbyeInAMessageWithoutEnd: it comes between two fragments.
func TestGoodbyeInAMessageWithoutEnd(t *testing.T) {
	begun := make(chan bool)
	h, g := serve(t, &http.Server{Handler: socket(func(c net.Conn, in *bufio.Reader, r *http.Request) {
		c.Write([]byte{opText, 2, 'a', 'b'})
		close(begun)
		reading(c, in, r)
	})}, listen(t))
	c := upgraded(t, g.Addr())
	<-begun
	h.Announce()
	until(t, "its turn", func() bool { return h.Stats().Live.WebSocket.Draining == 1 })
	if cut := h.Cut(); len(cut) != 1 {
		t.Errorf("cut: %+v", cut)
	}
	for _, want := range []byte{opText, opClose} {
		if op, _, err := readFrame(c.in); err != nil || op != want {
			t.Errorf("opcode %d in place of %d, %v", op, want, err)
		}
	}
	gone(t, h)
}

// TestGoodbyeAndClose: a handler that closes at once does not take the goodbye
// from the client, however much it has not read.
func TestGoodbyeAndClose(t *testing.T) {
	for name, handler := range map[string]func(c net.Conn, in *bufio.Reader, r *http.Request){
		"when it is leaving": func(c net.Conn, in *bufio.Reader, r *http.Request) {
			<-Leaving(r.Context())
			c.Close()
		},
		"when it cannot write": func(c net.Conn, in *bufio.Reader, r *http.Request) {
			for i := 0; ; i++ {
				if _, err := c.Write(textFrame(opText, fmt.Sprint(i))); err != nil {
					break
				}
			}
			c.Close()
			c.Close()
		},
		"while it reads": func(c net.Conn, in *bufio.Reader, r *http.Request) {
			leaving, read := Leaving(r.Context()), make(chan error)
			go func() {
				for {
					if _, _, err := readFrame(in); err != nil {
						read <- err
						return
					}
				}
			}()
			<-leaving
			c.Close()
			if err := <-read; !errors.Is(err, net.ErrClosed) {
				t.Errorf("the reader ended with %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, g := serve(t, &http.Server{Handler: socket(handler)}, listen(t))
			c := upgraded(t, g.Addr())
			go c.Write(textFrame(opText, strings.Repeat("unread", 1000)))
			until(t, "the handler", func() bool { return h.Stats().Hijacked == 1 })
			asked := name == "when it cannot write"
			until(t, "Leaving", func() bool {
				for _, c := range connsOf(h) {
					c.gate.Lock()
					l := c.live.Load()
					asked = asked || l != nil && l.leaving != nil
					c.gate.Unlock()
				}
				return asked
			})
			g.Shut()
			h.Announce()
			if code, _ := c.goodbye(t); code != closeRestart {
				t.Errorf("told %d", code)
			}
			c.Close()
			gone(t, h)
		})
	}
}

func connsOf(h *HTTP) []*Conn {
	cs, _ := h.tracker.all()
	return cs
}

// TestGoodbyeInItsOwnWords: a handler that says goodbye is not interrupted.
func TestGoodbyeInItsOwnWords(t *testing.T) {
	h, g := serve(t, &http.Server{Handler: socket(func(c net.Conn, in *bufio.Reader, r *http.Request) {
		leaving := Leaving(r.Context())
		c.Write(textFrame(opText, "ready"))
		<-leaving
		c.Write(textFrame(opText, "bye"))
		c.Write(textFrame(opClose, "\x0f\xa0mine"))
		c.Close()
	})}, listen(t))
	c := upgraded(t, g.Addr())
	readFrame(c.in)
	h.Announce()
	if code, before := c.goodbye(t); code != 4000 || strings.Join(before, "") != "bye" {
		t.Errorf("told %d after %q", code, before)
	}
	c.Close()
	gone(t, h)
}

// TestGoodbyeToWhoDoesNotRead: it is behind everything that the client has not
// read, and nobody else waits for that.
func TestGoodbyeToWhoDoesNotRead(t *testing.T) {
	h, g := serve(t, &http.Server{Handler: socket(func(c net.Conn, in *bufio.Reader, r *http.Request) {
		if r.URL.Query().Has("flood") {
			for {
				if _, err := c.Write(textFrame(opBinary, strings.Repeat("x", 60000))); err != nil {
					break
				}
			}
		}
		reading(c, in, r)
	})}, listen(t))
	slow := newClient(t, g.Addr())
	io.WriteString(slow, strings.Replace(wsRequest, "/ws", "/ws?flood", 1))
	until(t, "its handler is blocked", func() bool {
		for _, c := range connsOf(h) {
			if l := c.live.Load(); l != nil && !l.turn.TryLock() {
				return true
			} else if l != nil {
				l.turn.Unlock()
			}
		}
		return false
	})
	quick := upgraded(t, g.Addr())
	g.Shut()
	h.Announce()
	if code, _ := quick.goodbye(t); code != closeRestart {
		t.Errorf("told %d", code)
	}
	until(t, "the turn of the slow one", func() bool { s := h.Stats().Live.WebSocket; return s.Draining == 1 && s.Normal == 0 })
	if _, err := http.ReadResponse(slow.in, nil); err != nil {
		t.Fatal(err)
	}
	if code, _ := slow.goodbye(t); code != closeRestart {
		t.Errorf("told %d", code)
	}
	gone(t, h)
}

// TestGoodbyeUnanswered: a client that does not answer is there until it is cut,
// and named.
func TestGoodbyeUnanswered(t *testing.T) {
	h, g := serve(t, &http.Server{Handler: socket(reading)}, listen(t))
	c := upgraded(t, g.Addr())
	h.Announce()
	if op, _, err := readFrame(c.in); err != nil || op != opClose {
		t.Fatalf("opcode %d, %v", op, err)
	}
	if cut := h.Cut(); len(cut) != 1 || cut[0].Kind != "websocket" || cut[0].Reason != ReasonHijacked {
		t.Errorf("cut: %+v", cut)
	}
	gone(t, h)
}

// TestLastWords: who had no turn is told when it is cut, and so is one that is being
// written to in that moment.
func TestLastWords(t *testing.T) {
	h, g := serveWith(t, &http.Server{Handler: socket(reading)}, listen(t), func(h *HTTP) { h.SetPace(Pace{PerSecond: 0.001}) })
	var cs []*client
	for range 10 {
		cs = append(cs, upgraded(t, g.Addr()))
	}
	g.Shut()
	h.Announce()
	until(t, "the first turn", func() bool { return h.Told()[reasonNowhere] == 1 })
	var written *live
	for _, c := range connsOf(h) {
		if l := c.live.Load(); !l.left.Load() {
			written = l
		}
	}
	written.turn.Lock()
	began, took := time.Now(), make(chan time.Duration, 1)
	go func() {
		if cut := h.Cut(); len(cut) < 9 {
			t.Errorf("cut: %+v", cut)
		}
		took <- time.Since(began)
	}()
	until(t, "the others are told", func() bool { return h.Told()[reasonNowhere] == len(cs)-1 || len(took) == 1 })
	written.turn.Unlock()
	if d := <-took; d >= lastWordsWithin {
		t.Skipf("this took %v: nobody is promised anything", d)
	}
	for _, c := range cs {
		if op, payload, err := readFrame(c.in); err != nil || op != opClose || binary.BigEndian.Uint16(payload) != closeRestart {
			t.Errorf("opcode %d, %q, %v", op, payload, err)
		}
	}
	if told := h.Told(); told[reasonNowhere] != len(cs) {
		t.Errorf("told: %v", told)
	}
	gone(t, h)
}

func TestGoodbyeToAnEventStream(t *testing.T) {
	ended, half, rest := make(chan error, 1), make(chan bool), make(chan bool)
	h, g := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", eventStream)
		io.WriteString(w, "data: 1\n\ndata: 2\n")
		http.NewResponseController(w).Flush()
		close(half)
		<-rest
		io.WriteString(w, "\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		io.WriteString(w, "data: never\n\n")
		ended <- http.NewResponseController(w).Flush()
	})}, listen(t))
	c := newClient(t, g.Addr())
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n")
	<-half
	h.Announce()
	until(t, "its turn", func() bool { return h.Stats().Live.SSE.Draining == 1 })
	close(rest)
	_, body, err := c.answer()
	events, retry, ok := strings.Cut(body, "retry: ")
	var ms int
	fmt.Sscan(retry, &ms)
	if err != nil || !ok || events != "data: 1\n\ndata: 2\n\n" || ms < 1000 || ms >= 3000 || !strings.HasSuffix(retry, "\n\n") {
		t.Errorf("%q, %v", body, err)
	}
	if _, err := c.in.ReadByte(); err != io.EOF {
		t.Errorf("behind the stream: %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("an event after the end")
	}
	c.Close()
	gone(t, h)
}

// TestGoodbyeToACompressedEventStream: its handler ends it as if the client had
// gone, and the client finds it whole.
func TestGoodbyeToACompressedEventStream(t *testing.T) {
	h, g := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", eventStream)
		w.Header().Set("Content-Encoding", "test")
		io.WriteString(w, "compressed")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		io.WriteString(w, " end")
	})}, listen(t))
	c := newClient(t, g.Addr())
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n")
	until(t, "the stream", func() bool { return h.Stats().SSE == 1 })
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Announce()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "compressed end" {
		t.Errorf("%q, %v", body, err)
	}
	if _, err := c.in.ReadByte(); err != io.EOF {
		t.Errorf("behind the stream: %v", err)
	}
	c.Close()
	gone(t, h)
}

// TestGoodbyeToALateComer: who upgrades a connection when all have been told is
// told as well.
func TestGoodbyeToALateComer(t *testing.T) {
	h, g := serve(t, &http.Server{Handler: socket(reading)}, listen(t))
	c := newClient(t, g.Addr())
	until(t, "the connection", func() bool { return h.Stats().Open == 1 })
	g.Shut()
	h.Announce()
	c.upgrade(t)
	if code, _ := c.goodbye(t); code != closeRestart {
		t.Errorf("told %d", code)
	}
	gone(t, h)
}

func TestGoodbyeOverTLS(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{certificate()}, NextProtos: []string{"http/1.1"}}
	h, g := serve(t, &http.Server{TLSConfig: config, Handler: socket(func(c net.Conn, in *bufio.Reader, r *http.Request) {
		if r.URL.Path == "/closing" {
			<-Leaving(r.Context())
			c.Close()
			return
		}
		reading(c, in, r)
	})}, listen(t))
	var cs []*client
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, path := range []string{"/ws", "/closing"} {
			tc := tls.Client(dial(t, g.Addr()), &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
			c := &client{tc, bufio.NewReader(tc)}
			io.WriteString(c, strings.Replace(wsRequest, "/ws", path, 1))
			if resp, err := http.ReadResponse(c.in, nil); err != nil || resp.StatusCode != 101 {
				t.Fatal(err)
			}
			cs = append(cs, c)
		}
	}
	h.Announce()
	for _, c := range cs {
		if code, _ := c.goodbye(t); code != closeGoingAway {
			t.Errorf("told %d", code)
		}
		c.Close()
	}
	gone(t, h)
}

// TestOnlyThoseWhoStayAreTold: Leaving belongs to one connection, and nobody who
// moves hears of it.
func TestOnlyThoseWhoStayAreTold(t *testing.T) {
	left, over := make(chan string, 100), make(chan bool)
	t.Cleanup(func() { close(over) }) // handlers that have moved do not return
	p := newPair(t, nil, func(g string) http.Handler {
		return socket(func(c net.Conn, in *bufio.Reader, r *http.Request) {
			name := r.URL.RawQuery
			if strings.HasPrefix(name, "declared") {
				Movable(r.Context())
			}
			leaving := Leaving(r.Context())
			go func() {
				select {
				case <-leaving:
					left <- g + " " + name
				case <-over:
				}
			}()
			reading(c, in, r)
		})
	})
	var stay, move []*client
	for i := range 20 {
		for _, name := range []string{"declared", "not"} {
			c := newClient(t, p.ln.Addr())
			io.WriteString(c, strings.Replace(wsRequest, "/ws", fmt.Sprintf("/ws?%s%d", name, i), 1))
			if resp, err := http.ReadResponse(c.in, nil); err != nil || resp.StatusCode != 101 {
				t.Fatal(err)
			}
			c.say(t, "ready") // its handler has declared it, and asked for Leaving
			if name == "not" {
				stay = append(stay, c)
			} else {
				move = append(move, c)
			}
		}
	}
	d := p.move(t)
	if d.Moved["websocket"] != len(move) || d.Stayed[reasonUndeclared] != len(stay) {
		t.Errorf("departed: %+v", d)
	}
	for _, c := range stay {
		if code, _ := c.goodbye(t); code != closeRestart {
			t.Errorf("told %d", code)
		}
		if name := <-left; !strings.HasPrefix(name, "old not") {
			t.Errorf("%s was to leave", name)
		}
	}
	p.old.Announce()
	gone(t, p.old)
	for _, c := range move {
		if got := c.say(t, "still here"); got != "still here" {
			t.Errorf("got %q", got)
		}
	}
	select {
	case name := <-left:
		t.Errorf("%s was to leave", name)
	default:
	}
	if told := p.old.Told(); told[reasonUndeclared] != len(stay) || len(told) != 1 {
		t.Errorf("told: %v", told)
	}
	old, now := p.old.Stats().Live, p.new.Stats().Live
	if int(old.MovedOut) != len(move) || int(old.Closed) != len(stay) || int(now.MovedIn) != len(move) || now.WebSocket.Normal != len(move) {
		t.Errorf("counted: %+v, %+v", old, now)
	}
}

// TestToldByKind: every kind is counted once.
func TestToldByKind(t *testing.T) {
	h, g := serve(t, &http.Server{Handler: http.HandlerFunc(hello)}, listen(t))
	c := newClient(t, g.Addr())
	c.get(t, "/")
	h.Announce()
	if len(h.Told()) != 0 {
		t.Errorf("told before it has asked: %v", h.Told())
	}
	if !c.get(t, "/").Close {
		t.Error("not told")
	}
	if told := h.Told(); told[reasonNowhere] != 1 || len(told) != 1 {
		t.Errorf("told: %v", told)
	}
}
