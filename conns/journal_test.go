package conns

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// notes is a Journal that a test can read.
type notes struct {
	mu    sync.Mutex
	slots map[int]string
	last  int
	wrong []string
}

func (n *notes) take(what string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.slots == nil {
		n.slots = map[int]string{}
	}
	n.last++
	n.slots[n.last] = what
	return n.last
}

func (n *notes) Open(remote string) int { return n.take(remote + ":") }

func (n *notes) Stream(conn int) int {
	n.mu.Lock()
	remote, _, _ := strings.Cut(n.slots[conn], ": ")
	n.mu.Unlock()
	return n.take(remote + ":")
}

func (n *notes) Note(slot int, kind, state, method, path string, since time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old, ok := n.slots[slot]
	if !ok || time.Since(since) < 0 || time.Since(since) > patience {
		n.wrong = append(n.wrong, fmt.Sprintf("slot %d (%q) noted since %v", slot, old, since))
	}
	remote, _, _ := strings.Cut(old, ": ")
	n.slots[slot] = strings.TrimSpace(strings.TrimSuffix(remote, ":") + ": " + strings.Join([]string{kind, state, method, path}, " "))
}

func (n *notes) Close(slot int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.slots[slot]; !ok {
		n.wrong = append(n.wrong, fmt.Sprintf("slot %d closed twice", slot))
	}
	delete(n.slots, slot)
}

// has waits until exactly these entries are in it.
func (n *notes) has(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	defer func() {
		if t.Failed() {
			t.Logf("in the journal: %q", got)
		}
	}()
	until(t, fmt.Sprintf("the journal has %q", want), func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		got = got[:0]
		for _, s := range n.slots {
			got = append(got, s)
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	})
	if n.wrong != nil {
		t.Error(n.wrong)
	}
}

func TestRecordHTTP1(t *testing.T) {
	n, release := &notes{}, make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-release
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, r *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		<-release
		c.Close()
	})
	ln := listen(t)
	srv := &http.Server{Handler: mux}
	h, _ := serve(t, srv, ln)
	h.Record(n)

	c := dial(t, ln.Addr())
	me := c.LocalAddr().String()
	n.has(t, me+": http1 new")
	in := bufio.NewReader(c)
	answer := func() {
		t.Helper()
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
	}
	// A request is there before its body is.
	fmt.Fprint(c, "POST /wait?secret=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
	n.has(t, me+": http1 active POST /wait")
	fmt.Fprint(c, "b")
	release <- struct{}{}
	answer()
	n.has(t, me+": http1 idle")
	fmt.Fprint(c, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
	answer()
	n.has(t, me+": http1 idle")
	fmt.Fprint(c, "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
	n.has(t, me+": other hijacked GET /hijack")
	release <- struct{}{}
	n.has(t)

	d := dial(t, ln.Addr())
	n.has(t, d.LocalAddr().String()+": http1 new")
	h.Record(nil)
	d.Close()
	e := dial(t, ln.Addr())
	fmt.Fprint(e, "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if _, err := io.Copy(io.Discard, e); err != nil {
		t.Fatal(err)
	}
	n.has(t, d.LocalAddr().String()+": http1 new") // left as it was
}

func TestRecordHTTP2(t *testing.T) {
	n, release := &notes{}, make(chan struct{})
	srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-release })}
	srv.Protocols.SetUnencryptedHTTP2(true)
	ln := listen(t)
	h, _ := serve(t, srv, ln)
	h.Record(n)
	transport := &http.Transport{Protocols: srv.Protocols}
	defer transport.CloseIdleConnections()
	conns := make(chan net.Conn, 1)
	transport.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
		c, err := net.Dial(network, addr)
		conns <- c
		return c, err
	}
	var requests sync.WaitGroup
	get := func(path string) {
		requests.Go(func() {
			resp, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://" + ln.Addr().String() + path)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		})
	}
	get("/a")
	c := <-conns
	me := c.LocalAddr().String()
	n.has(t, me+": h2 active", me+": h2 active GET /a")
	get("/b")
	n.has(t, me+": h2 active", me+": h2 active GET /a", me+": h2 active GET /b")
	release <- struct{}{}
	release <- struct{}{}
	requests.Wait()
	n.has(t, me+": h2 idle")
	get("/c")
	n.has(t, me+": h2 active", me+": h2 active GET /c")
	release <- struct{}{}
	requests.Wait()
	c.Close()
	n.has(t)
}

// Record(nil) is safe under load: nothing is told afterwards.
func TestRecordEnds(t *testing.T) {
	n := &notes{}
	ln := listen(t)
	h, _ := serve(t, &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}, ln)
	h.Record(n)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				io.Copy(io.Discard, c)
				c.Close()
			}
		})
	}
	until(t, "there was traffic", func() bool { return h.Stats().Served > 200 })
	h.Record(nil)
	n.mu.Lock()
	n.slots = nil // whatever comes now is wrong
	last := n.last
	n.mu.Unlock()
	served := h.Stats().Served
	until(t, "there was more", func() bool { return h.Stats().Served > served+200 })
	close(stop)
	clients.Wait()
	if n.last != last || n.wrong != nil {
		t.Errorf("told of %d connections more, %v", n.last-last, n.wrong)
	}
}

// A journal that is off costs nothing.
func TestRecordAllocatesNothing(t *testing.T) {
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	h := NewHTTP(srv)
	for _, on := range []bool{false, true} {
		if on {
			h.Record(blank{})
		}
		near, far := net.Pipe()
		c := h.tracker.listener(nil, func(c *Conn) { c.kind, c.leaving = kindHTTP1, h.leaving }).admit(near)
		r, err := http.NewRequestWithContext(h.srv.ConnContext(t.Context(), c), "GET", "http://x/items/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.ProtoMajor = 1
		if n := testing.AllocsPerRun(100, func() {
			srv.ConnState(c, http.StateActive)
			srv.Handler.ServeHTTP(nil, r)
			srv.ConnState(c, http.StateIdle)
		}); n > 0 {
			t.Errorf("%v allocations with a journal: %v", n, on)
		}
		c.Close()
		far.Close()
	}
}

type blank struct{}

func (blank) Open(string) int                                     { return 0 }
func (blank) Stream(int) int                                      { return 0 }
func (blank) Note(int, string, string, string, string, time.Time) {}
func (blank) Close(int)                                           {}
