//go:build unix

package conns

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// only is the one connection of a server.
func (h *HTTP) only(t testing.TB) *Conn {
	t.Helper()
	cs, _ := h.tracker.all()
	if len(cs) != 1 {
		t.Fatalf("%d connections", len(cs))
	}
	return cs[0]
}

// quiet begins a hold and returns when the connection is quiet.
func quiet(t testing.TB, c *Conn) *hold {
	t.Helper()
	told := make(chan *hold, 1)
	c.arm(newHold(c, func(h *hold) { told <- h }))
	select {
	case h := <-told:
		return h
	case <-time.After(patience):
		t.Fatal("the connection does not become quiet")
		return nil
	}
}

// crossing is one connection whose move is done step by step.
type crossing struct {
	t        testing.TB
	h        *hold
	arrivals *Arrivals
	verdicts chan []string
}

// cross holds c, packs it and has it taken.
func cross(t testing.TB, c *Conn, to *HTTP) *crossing {
	t.Helper()
	x := &crossing{t: t, h: quiet(t, c), verdicts: make(chan []string, 1)}
	x.arrivals = to.Arrive(func(_ uint64, refusals []string) error { x.verdicts <- refusals; return nil })
	p, fd, err := x.h.pack(saveAll([]*hold{x.h})[0])
	if err != nil {
		t.Fatal(err)
	}
	x.arrivals.Take(1, false, [][]byte{p.encode()}, []int{duplicate(t, fd)})
	return x
}

func duplicate(t testing.TB, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (x *crossing) verdict() string {
	x.t.Helper()
	select {
	case v := <-x.verdicts:
		return v[0]
	case <-time.After(patience):
		x.t.Fatal("no verdict")
		return ""
	}
}

// over has the new process serve.
func (x *crossing) over() {
	x.t.Helper()
	if v := x.verdict(); v != "" {
		x.t.Fatalf("refused: %s", v)
	}
	x.arrivals.Go(1, [][]byte{x.h.takeLate()})
	x.h.leave(func(data []byte, end bool) { x.arrivals.Late(1, 0, append([]byte(nil), data...), end) })
}

// withTLS runs a test with and without.
func withTLS(t *testing.T, test func(t *testing.T, config *tls.Config)) {
	for _, config := range []*tls.Config{nil, {Certificates: []tls.Certificate{certificate()}}} {
		t.Run(fmt.Sprintf("tls=%v", config != nil), func(t *testing.T) { test(t, config) })
	}
}

func (p *pair) dial(t testing.TB, config *tls.Config) *client {
	c := newClient(t, p.ln.Addr())
	if config != nil {
		tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
		c = &client{tc, bufio.NewReader(tc)}
	}
	return c
}

// TestRefusalIsNotSeen: whatever the new process does with a request that it
// does not answer as it was, the client sees nothing of it and goes on with the
// old process.
func TestRefusalIsNotSeen(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"404": http.NotFound,
		"close": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close") // net/http half-closes
			w.WriteHeader(http.StatusForbidden)
		},
		"panic": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"hangs up": func(w http.ResponseWriter, r *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			c.Close()
		},
		"half-closes": func(w http.ResponseWriter, r *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
			c.(interface{ CloseWrite() error }).CloseWrite()
			c.Close()
		},
		"long": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, strings.Repeat("no", 1<<20))
		},
		"a head and no more": func(w http.ResponseWriter, r *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "HTTP/1.1 101 Swi")
			c.Close()
		},
		"another protocol": func(w http.ResponseWriter, r *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: v2\r\n\r\n")
			io.Copy(c, c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			withTLS(t, func(t *testing.T, config *tls.Config) {
				p := newPair(t, config, func(g string) http.Handler {
					if g == "new" {
						return answer
					}
					return wsEcho(g, movable)
				})
				c := p.dial(t, config)
				c.upgrade(t)
				c.say(t, "x")
				x := cross(t, p.old.only(t), p.new)
				c.Write(textFrame(opText, "meanwhile"))
				if v := x.verdict(); v == "" {
					t.Fatal("it was not refused")
				}
				x.h.thaw()
				if _, m, err := readFrame(c.in); string(m) != "old:meanwhile" {
					t.Fatalf("got %q, %v", m, err)
				}
				until(t, "the new process has forgotten it", func() bool { return p.new.Stats().Open == 0 })
				if got := c.say(t, "still there?"); got != "old:still there?" {
					t.Fatalf("got %q", got)
				}
			})
		})
	}
}

// TestServerRefusesReplay: net/http answers by itself, without any handler.
func TestServerRefusesReplay(t *testing.T) {
	withTLS(t, func(t *testing.T, config *tls.Config) {
		ln := listen(t)
		old, _ := serve(t, &http.Server{Handler: wsEcho("old", movable), TLSConfig: config}, ln)
		to, _ := serve(t, &http.Server{Handler: wsEcho("new", movable), TLSConfig: config, MaxHeaderBytes: 1}, listen(t))
		p := &pair{ln: ln}
		c := p.dial(t, config)
		io.WriteString(c, strings.Replace(wsRequest, "\r\n\r\n", "\r\nCookie: "+strings.Repeat("c", 16<<10)+"\r\n\r\n", 1))
		if resp, err := http.ReadResponse(c.in, nil); err != nil || resp.StatusCode != 101 {
			t.Fatalf("upgrade: %v, %v", resp, err)
		}
		c.say(t, "x")
		x := cross(t, old.only(t), to)
		if v := x.verdict(); v != "was answered 431" {
			t.Fatalf("verdict: %q", v)
		}
		x.h.thaw()
		if got := c.say(t, "still there?"); got != "old:still there?" {
			t.Fatalf("got %q", got)
		}
	})
}

// TestMessagesWaitForVerdict: what the client has sent is handled by one
// process only, also if the new one does not declare the route movable.
func TestMessagesWaitForVerdict(t *testing.T) {
	heard := make(chan string, 10)
	proceed := make(chan struct{})
	p := newPair(t, nil, func(g string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if g == "old" {
				Movable(r.Context())
			}
			c, rw, _ := w.(http.Hijacker).Hijack()
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			for {
				_, m, err := readFrame(rw.Reader)
				if err != nil {
					return
				}
				heard <- g + " " + string(m)
				if g == "old" {
					<-proceed
				}
			}
		})
	})
	c := newClient(t, p.ln.Addr())
	c.upgrade(t)
	c.Write(append(textFrame(opText, "one"), textFrame(opText, "two")...))
	if got := <-heard; got != "old one" {
		t.Fatal(got)
	}
	conn := p.old.only(t)
	told := make(chan *hold, 1)
	h := newHold(conn, func(h *hold) { told <- h })
	conn.arm(h)
	proceed <- struct{}{}
	<-told // with the second message in hand
	x := &crossing{t: t, h: h, verdicts: make(chan []string, 1)}
	x.arrivals = p.new.Arrive(func(_ uint64, refusals []string) error { x.verdicts <- refusals; return nil })
	parcel, fd, err := h.pack(nil)
	if err != nil || len(parcel.carry) == 0 {
		t.Fatalf("carries %q, %v", parcel.carry, err)
	}
	x.arrivals.Take(1, false, [][]byte{parcel.encode()}, []int{duplicate(t, fd)})
	if v := x.verdict(); v != "" {
		t.Fatal(v)
	}
	// It asks for messages, and gets none.
	arrived := p.new.only(t)
	until(t, "the new handler reads", func() bool {
		arrived.gate.Lock()
		defer arrived.gate.Unlock()
		return arrived.hold.Load().parked
	})
	select {
	case m := <-heard:
		t.Fatalf("%q was heard before the verdict was known", m)
	default:
	}
	h.thaw() // the verdict is not heard
	arrived.hold.Load().drop()
	if got := <-heard; got != "old two" {
		t.Fatal(got)
	}
	close(proceed)
	until(t, "the replay ends", func() bool { return p.new.Stats().Open == 0 })
	c.Write(textFrame(opText, "three"))
	if got := <-heard; got != "old three" {
		t.Fatal(got)
	}
}

// TestDescriptors: a parcel whose descriptor is missing, or is none of a
// stream, is refused, and every descriptor is closed.
func TestDescriptors(t *testing.T) {
	to, _ := serve(t, &http.Server{Handler: http.NotFoundHandler()}, listen(t))
	verdicts := make(chan []string, 1)
	a := to.Arrive(func(_ uint64, refusals []string) error { verdicts <- refusals; return nil })
	datagram, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	data := (&parcel{kind: kindHTTP1, network: "tcp", local: "127.0.0.1:1", remote: "127.0.0.1:2"}).encode()
	fds := []int{datagram, pipe[0], pipe[1]}
	a.Take(1, false, [][]byte{data, data, data[:5], data}, fds)
	for i, reason := range <-verdicts {
		if reason == "" {
			t.Errorf("parcel %d was taken", i)
		}
		t.Log(reason)
	}
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
	// One too many is closed as well, and the batch is judged without it.
	again, _ := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	a.Take(2, false, nil, []int{again})
	if v := <-verdicts; len(v) != 0 {
		t.Errorf("verdict %q", v)
	}
	if _, err := unix.FcntlInt(uintptr(again), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("descriptor %d: %v", again, err)
	}
	a.Gone()
}

// TestEventStreamOfPost: a request is served again only if all of it is known;
// its body is not kept.
func TestEventStreamOfPost(t *testing.T) {
	p := newPair(t, nil, func(g string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "id: 1\ndata: %s %s\n\n", g, body)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
	})
	c := newClient(t, p.ln.Addr())
	io.WriteString(c, "POST /ask HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\nContent-Length: 2\r\n\r\nhi")
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body := bufio.NewReader(resp.Body)
	for range 3 {
		if _, err := body.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if pr, why := p.old.only(t).prospect(); pr != never || why != reasonBody {
		t.Fatalf("prospect %v, %q", pr, why)
	}
}
