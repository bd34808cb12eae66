//go:build unix

package conns

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// accountant answers with what it was asked.
func accountant(generation string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %v", r.Method, r.URL.Path, body, err)
	})
}

var pipeline = []struct{ request, answer string }{
	{"GET /1 HTTP/1.1\r\nHost: test\r\n\r\n", "GET /1  <nil>"},
	{"POST /2 HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\nhello world", "POST /2 hello world <nil>"},
	{"POST /3 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n again\r\n0\r\nTrailer: x\r\n\r\n", "POST /3 hello again <nil>"},
	{"GET /4 HTTP/1.1\r\nHost: test\r\nUpgrade: nothing\r\nConnection: Upgrade\r\n\r\n", "GET /4  <nil>"},
	{"GET /5 HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n", "GET /5  <nil>"},
}

// TestPipelineCutAnywhere: a connection moves behind each byte of five requests.
func TestPipelineCutAnywhere(t *testing.T) {
	withTLS(t, func(t *testing.T, config *tls.Config) {
		all := ""
		for _, q := range pipeline {
			all += q.request
		}
		p := newPair(t, config, accountant)
		step := 1
		if config != nil {
			step = 3
		}
		rnd := chance(t)
		var cs []*client
		for n := 0; n < len(all); n += step {
			c := p.dial(t, config)
			if tc, ok := c.Conn.(*tls.Conn); ok {
				if err := tc.Handshake(); err != nil {
					t.Fatal(err)
				}
			}
			io.WriteString(c, all[:n])
			cs = append(cs, c)
		}
		until(t, "all were accepted", func() bool { return p.old.Stats().Open == len(cs) })
		var rest sync.WaitGroup
		release := make(chan struct{})
		for i, c := range cs {
			early := rnd.IntN(2) == 0
			rest.Go(func() {
				if !early {
					<-release
				}
				left := all[i*step:]
				for len(left) > 0 {
					n := min(1+i%50, len(left))
					if _, err := io.WriteString(c, left[:n]); err != nil {
						t.Errorf("cut at %d: %v", i*step, err)
						return
					}
					left = left[n:]
				}
			})
		}
		p.gate.Shut()
		done := make(chan Departed, 1)
		go func() { done <- p.old.Depart(budget(t, patience), newFerry(t, p.new)) }()
		until(t, "some have moved", func() bool { return p.old.departed.Load() })
		close(release)
		for i, c := range cs {
			for _, q := range pipeline {
				_, body, err := c.answer()
				if err != nil || body != q.answer {
					t.Fatalf("cut at %d: %q, %v; want %q", i*step, body, err, q.answer)
				}
			}
			if _, err := c.in.ReadByte(); err != io.EOF {
				t.Fatalf("cut at %d: then %v", i*step, err)
			}
		}
		rest.Wait()
		d := <-done
		t.Logf("%d connections: %+v", len(cs), d)
		if d.Failure != "" || d.Moved["http1"] == 0 {
			t.Errorf("%+v", d)
		}
	})
}

// TestHalfHead: what came of a request head is completed in the new process.
func TestHalfHead(t *testing.T) {
	withTLS(t, func(t *testing.T, config *tls.Config) {
		p := newPair(t, config, whoami)
		c := p.dial(t, config)
		if _, body, err := c.ask("GET /1 HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil || body != "old" {
			t.Fatalf("%q, %v", body, err)
		}
		io.WriteString(c, "GET /2 HTTP/1.1\r\nHo")
		conn := p.old.only(t)
		until(t, "half of it was read", func() bool { return conn.heard.Load() })
		if d := p.move(t); d.Moved["http1"] != 1 {
			t.Fatalf("%+v", d)
		}
		if _, body, err := c.ask("st: test\r\n\r\n"); err != nil || body != "new" {
			t.Fatalf("%q, %v", body, err)
		}
	})
}

// TestUploadFinishes: an upload, which waited for 100 Continue, is finished
// where it began; then the connection moves.
func TestUploadFinishes(t *testing.T) {
	p := newPair(t, nil, func(g string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, g, n, err)
		})
	})
	c := newClient(t, p.ln.Addr())
	const size = 1 << 20
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", size)
	if line, err := c.in.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	c.in.ReadString('\n')
	done := make(chan Departed, 1)
	go func() { done <- p.move(t) }()
	conn := p.old.only(t)
	until(t, "the departure waits for it", func() bool { return conn.hold.Load() != nil })
	piece := strings.Repeat("x", size/64)
	for range 64 {
		io.WriteString(c, piece)
	}
	if _, body, err := c.answer(); err != nil || body != fmt.Sprint("old", size, nil) {
		t.Fatalf("%q, %v", body, err)
	}
	if d := <-done; d.Moved["http1"] != 1 {
		t.Fatalf("%+v", d)
	}
	if _, body, err := c.ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil || body != fmt.Sprint("new", 0, nil) {
		t.Fatalf("%q, %v", body, err)
	}
}

// TestBusyTurnsOutToStay: a connection that was armed in the middle of a request
// becomes something that does not move; the departure does not wait for it.
func TestBusyTurnsOutToStay(t *testing.T) {
	for name, request := range map[string]string{
		"websocket":    wsRequest,
		"event stream": "GET /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n",
		"hijacked":     "GET /hijack HTTP/1.1\r\nHost: test\r\n\r\n",
		"closed":       "GET /close HTTP/1.0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			release, over := make(chan struct{}), make(chan struct{})
			p := newPair(t, nil, func(g string) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch r.URL.Path {
					case "/slow":
						<-release
					case "/ws", "/hijack":
						c, _, _ := w.(http.Hijacker).Hijack()
						defer c.Close()
						io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
						<-over
					case "/events":
						w.Header().Set("Content-Type", "text/event-stream")
						io.WriteString(w, "data: no id\n\n")
						w.(http.Flusher).Flush()
						<-over
					}
				})
			})
			c := newClient(t, p.ln.Addr())
			io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
			until(t, "it is served", func() bool { return p.old.Stats().InFlight == 1 })
			conn := p.old.only(t)
			// As if the scan had seen the first request and armed the second.
			d := &departure{h: p.old, known: map[*Conn]*traveller{}, armed: map[*hold]*traveller{}, signal: make(chan struct{}, 1)}
			tr := &traveller{c: conn, busy: true}
			close(release)
			c.answer()
			io.WriteString(c, request)
			http.ReadResponse(c.in, nil)
			d.arm(tr, nil)
			until(t, "it is given up", func() bool {
				d.collect()
				d.expire()
				return len(d.armed) == 0
			})
			if d.waiting != 0 {
				t.Errorf("%d are waited for", d.waiting)
			}
			close(over)
			d.thaw(d.ready)
		})
	}
}

// TestAdoptedDeadlines: an idle connection that has moved is as idle as it was,
// and its next request has all the time that one has.
func TestAdoptedDeadlines(t *testing.T) {
	const short = 800 * time.Millisecond
	for name, c := range map[string]struct {
		srv  *http.Server
		idle bool // it is closed when it has been idle for short
		head bool // and when a head is not complete for short
	}{
		"nothing":              {srv: &http.Server{}},
		"header":               {srv: &http.Server{ReadHeaderTimeout: short, IdleTimeout: time.Hour}, head: true},
		"header, idle unset":   {srv: &http.Server{ReadHeaderTimeout: short}, head: true},
		"idle":                 {srv: &http.Server{IdleTimeout: short}, idle: true},
		"whole request":        {srv: &http.Server{ReadTimeout: short, IdleTimeout: time.Hour}, head: true},
		"whole, a longer head": {srv: &http.Server{ReadTimeout: short, ReadHeaderTimeout: time.Hour, IdleTimeout: time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln := listen(t)
			old, gate := serve(t, &http.Server{Handler: accountant("old")}, ln)
			c.srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-r.Context().Done(): // a read deadline in the past ends it
					fmt.Fprint(w, "ended ")
				case <-time.After(short / 10):
				}
				accountant("new").ServeHTTP(w, r)
			})
			to, next := serve(t, c.srv, listen(t))
			next.Shut()
			asks, waits := newClient(t, ln.Addr()), newClient(t, ln.Addr())
			asks.get(t, "/")
			waits.get(t, "/")
			gate.Shut()
			if d := old.Depart(budget(t, patience), newFerry(t, to)); d.Moved["http1"] != 2 {
				t.Fatalf("%+v", d)
			}
			closed := func(c *client, within time.Duration) bool {
				c.SetReadDeadline(time.Now().Add(within))
				_, err := io.Copy(io.Discard, c.in) // net/http may say what it thinks of half a request
				return err == nil
			}
			if got := closed(waits, 2*short); got != c.idle {
				t.Errorf("closed when it was idle: %v, want %v", got, c.idle)
			}
			if c.idle {
				return
			}
			// The whole idle time has passed: it does not count for the request.
			asks.SetReadDeadline(time.Now().Add(patience))
			_, body, err := asks.ask("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi")
			if err != nil || body != "POST /x hi <nil>" {
				t.Errorf("after it was idle: %q, %v", body, err)
			}
			io.WriteString(waits, "GET / HT")
			if got := closed(waits, 2*short); got != c.head {
				t.Errorf("closed with half a head: %v, want %v", got, c.head)
			}
		})
	}
}

// TestSilentConnectionMoves: one that has never sent a byte.
func TestSilentConnectionMoves(t *testing.T) {
	withTLS(t, func(t *testing.T, config *tls.Config) {
		p := newPair(t, config, whoami)
		c := p.dial(t, config)
		if tc, ok := c.Conn.(*tls.Conn); ok {
			if err := tc.Handshake(); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "it is there", func() bool { return p.old.Stats().Open == 1 })
		if d := p.move(t); d.Moved["http1"] != 1 {
			t.Fatalf("%+v", d)
		}
		if _, body, err := c.ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil || body != "new" {
			t.Fatalf("%q, %v", body, err)
		}
	})
}

// TestUnixSocketMoves, idle and as a WebSocket.
func TestUnixSocketMoves(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	handler := func(g string) http.Handler { return wsEcho(g, movable) }
	old, gate := serve(t, &http.Server{Handler: handler("old")}, ln)
	to, _ := serve(t, &http.Server{Handler: handler("new")}, listen(t))
	idle, ws := newClient(t, ln.Addr()), newClient(t, ln.Addr())
	idle.get(t, "/")
	ws.upgrade(t)
	gate.Shut()
	if d := old.Depart(budget(t, patience), newFerry(t, to)); d.Moved["http1"] != 1 || d.Moved["websocket"] != 1 {
		t.Fatalf("%+v", d)
	}
	if got := ws.say(t, "x"); got != "new:x" {
		t.Errorf("got %q", got)
	}
	if _, body, err := idle.ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil || body != "new" {
		t.Errorf("got %q, %v", body, err)
	}
}

// pipes is a listener without descriptors.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// TestNoDescriptor: such connections stay, with a reason, and can be upgraded.
func TestNoDescriptor(t *testing.T) {
	ln := make(pipes, 2)
	old, _ := serve(t, &http.Server{Handler: wsEcho("old", movable)}, ln)
	to, _ := serve(t, &http.Server{Handler: wsEcho("new", movable)}, listen(t))
	var cs []*client
	for range 2 {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close() })
		a.SetDeadline(time.Now().Add(patience))
		ln <- b
		cs = append(cs, &client{a, bufio.NewReader(a)})
	}
	cs[0].get(t, "/")
	cs[1].upgrade(t)
	if got := cs[1].say(t, "x"); got != "old:x" {
		t.Errorf("got %q", got)
	}
	d := old.Depart(budget(t, patience), newFerry(t, to))
	if d.Failure != "" || d.Stayed[reasonNoSocket] != 2 {
		t.Fatalf("%+v", d)
	}
}

// TestDescriptorsBalance: moves leave no descriptor behind.
func TestDescriptorsBalance(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip(err)
	}
	count := func() int {
		es, _ := os.ReadDir("/proc/self/fd")
		return len(es)
	}
	withTLS(t, func(t *testing.T, config *tls.Config) {
		l := newLine(t, config, func(g string) http.Handler { return wsEcho(g, movable) })
		idle, ws := l.dial(config), l.dial(config)
		idle.get(t, "/")
		ws.upgrade(t)
		l.hop()
		before := count()
		const moves = 10
		for range moves {
			l.hop()
			idle.get(t, "/")
			ws.say(t, "x")
		}
		// Each has a listener of its own.
		until(t, "the descriptors are balanced", func() bool { return count() <= before+moves })
	})
}
