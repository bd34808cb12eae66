//go:build unix

package conns

import (
	"bufio"
	"context"
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

	"golang.org/x/sys/unix"
)

// ferry carries connections to another HTTP of this process.
type ferry struct {
	arrivals *Arrivals
	work     chan func()
	verdicts chan verdict
	mu       sync.Mutex
	stopped  chan struct{}
	fail     error              // of Send
	hold     func(batch uint64) // before a batch is taken; may be nil
	taken    []int              // sizes of batches
}

func newFerry(t testing.TB, to *HTTP) *ferry {
	f := &ferry{work: make(chan func(), 4096), verdicts: make(chan verdict, 4096), stopped: make(chan struct{})}
	f.arrivals = to.Arrive(f.answer)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for w := range f.work {
			w()
		}
		f.arrivals.Gone()
	}()
	t.Cleanup(func() { close(f.work); <-done })
	return f
}

func (f *ferry) answer(b uint64, refusals []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.stopped:
		return errors.New("nobody listens")
	default:
	}
	f.verdicts <- verdict{batch: b, refusals: refusals}
	return nil
}

func (f *ferry) Send(b uint64, whole bool, parcels [][]byte, fds []int) error {
	if f.fail != nil {
		return f.fail
	}
	f.taken = append(f.taken, len(fds))
	var copies []int
	var data [][]byte
	for i, fd := range fds {
		n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return err
		}
		copies = append(copies, n)
		data = append(data, append([]byte(nil), parcels[i]...))
	}
	f.work <- func() {
		if f.hold != nil {
			f.hold(b)
		}
		f.arrivals.Take(b, whole, data, copies)
	}
	return nil
}

func (f *ferry) Await() (uint64, []string, error) {
	select {
	case v := <-f.verdicts:
		return v.batch, v.refusals, nil
	default:
	}
	select {
	case v := <-f.verdicts:
		return v.batch, v.refusals, nil
	case <-f.stopped:
	}
	select {
	case v := <-f.verdicts:
		return v.batch, v.refusals, nil
	default:
		return 0, nil, io.EOF
	}
}

func (f *ferry) Go(b uint64, late [][]byte) error {
	f.work <- func() { f.arrivals.Go(b, late) }
	return nil
}

func (f *ferry) Late(b uint64, i int, data []byte, end bool) error {
	data = append([]byte(nil), data...)
	f.work <- func() { f.arrivals.Late(b, i, data, end) }
	return nil
}

func (f *ferry) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.stopped:
	default:
		close(f.stopped)
	}
}

// pair is two servers of which the first hands its connections to the second.
type pair struct {
	ln       net.Listener
	old, new *HTTP
	gate     *Gate
}

func newPair(t testing.TB, config *tls.Config, handler func(generation string) http.Handler) *pair {
	t.Helper()
	ln := listen(t)
	old, gate := serve(t, &http.Server{Handler: handler("old"), TLSConfig: config}, ln)
	to, next := serve(t, &http.Server{Handler: handler("new"), TLSConfig: config}, listen(t))
	next.Shut()
	return &pair{ln, old, to, gate}
}

// move has everything depart.
func (p *pair) move(t testing.TB) Departed {
	t.Helper()
	p.gate.Shut()
	d := p.old.Depart(budget(t, patience), newFerry(t, p.new))
	if d.Failure != "" {
		t.Errorf("departure: %s", d.Failure)
	}
	return d
}

func whoami(generation string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, generation)
	})
}

func TestIdleConnectionMoves(t *testing.T) {
	for _, config := range []*tls.Config{nil, {Certificates: []tls.Certificate{certificate()}}} {
		t.Run(fmt.Sprintf("tls=%v", config != nil), func(t *testing.T) {
			p := newPair(t, config, whoami)
			var cs []*client
			for range 20 {
				c := newClient(t, p.ln.Addr())
				if config != nil {
					tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
					c = &client{tc, bufio.NewReader(tc)}
				}
				if _, body, err := c.ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil || body != "old" {
					t.Fatalf("before the move: %q, %v", body, err)
				}
				cs = append(cs, c)
			}
			d := p.move(t)
			if d.Moved["http1"] != len(cs) || len(d.Stayed) != 0 {
				t.Fatalf("departed: %+v", d)
			}
			for _, c := range cs {
				resp, body, err := c.ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
				if err != nil || body != "new" || resp.Close {
					t.Fatalf("after the move: %q, close=%v, %v", body, resp != nil && resp.Close, err)
				}
			}
			if s := p.new.Stats(); s.Open != len(cs) {
				t.Errorf("the new process counts %d connections", s.Open)
			}
			if s := p.old.Stats(); s.Open != 0 {
				t.Errorf("the old process counts %d connections", s.Open)
			}
		})
	}
}

// wsEcho is a WebSocket server as short as can be: it answers every message with
// the name of its generation and the message.
func wsEcho(generation string, accept func(r *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			whoami(generation).ServeHTTP(w, r)
			return
		}
		accept(r)
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")
		for {
			op, payload, err := readFrame(rw.Reader)
			if err != nil || op == opClose {
				return
			}
			if _, err := c.Write(textFrame(opText, generation+":"+string(payload))); err != nil {
				return
			}
		}
	})
}

func textFrame(op byte, payload string) []byte {
	b := []byte{0x80 | op}
	if n := len(payload); n < 126 {
		b = append(b, byte(n))
	} else if n < 1<<16 {
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	} else {
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

func readFrame(r *bufio.Reader) (op byte, payload []byte, err error) {
	h := make([]byte, 2)
	if _, err := io.ReadFull(r, h); err != nil {
		return 0, nil, err
	}
	n := uint64(h[1] & 127)
	ext := make([]byte, map[uint64]int{126: 2, 127: 8}[n])
	if _, err := io.ReadFull(r, ext); err != nil {
		return 0, nil, err
	}
	switch len(ext) {
	case 2:
		n = uint64(binary.BigEndian.Uint16(ext))
	case 8:
		n = binary.BigEndian.Uint64(ext)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return h[0] & 15, payload, err
}

const wsRequest = "GET /ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"

// upgrade makes a WebSocket of the client's connection.
func (c *client) upgrade(t testing.TB) {
	t.Helper()
	if _, err := io.WriteString(c, wsRequest); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
}

// say sends a message and returns what comes back.
func (c *client) say(t testing.TB, message string) string {
	t.Helper()
	if _, err := c.Write(textFrame(opText, message)); err != nil {
		t.Fatal(err)
	}
	_, payload, err := readFrame(c.in)
	if err != nil {
		t.Fatalf("after %q: %v", message, err)
	}
	return string(payload)
}

func movable(r *http.Request) { Movable(r.Context()) }

func TestWebSocketMoves(t *testing.T) {
	p := newPair(t, nil, func(g string) http.Handler { return wsEcho(g, movable) })
	var cs []*client
	for i := range 30 {
		c := newClient(t, p.ln.Addr())
		c.upgrade(t)
		if got := c.say(t, fmt.Sprint(i)); got != fmt.Sprint("old:", i) {
			t.Fatalf("got %q", got)
		}
		cs = append(cs, c)
	}
	// Half a message stays half a message.
	half := textFrame(opText, "halves")
	cs[3].Write(half[:4])
	d := p.move(t)
	if d.Moved["websocket"] != len(cs) {
		t.Fatalf("departed: %+v", d)
	}
	cs[3].Write(half[4:])
	if _, payload, err := readFrame(cs[3].in); err != nil || string(payload) != "new:halves" {
		t.Fatalf("got %q, %v", payload, err)
	}
	for i, c := range cs {
		if got := c.say(t, fmt.Sprint(i)); got != fmt.Sprint("new:", i) {
			t.Fatalf("got %q", got)
		}
	}
}

func TestRefusedReplayStays(t *testing.T) {
	p := newPair(t, nil, func(g string) http.Handler {
		if g == "new" {
			return http.NotFoundHandler()
		}
		return wsEcho(g, movable)
	})
	var cs []*client
	for range 20 {
		c := newClient(t, p.ln.Addr())
		c.upgrade(t)
		cs = append(cs, c)
	}
	d := p.move(t)
	if d.Moved["websocket"] != 0 || d.Stayed[reasonRefused+": was answered 404"] == 0 {
		t.Fatalf("departed: %+v", d)
	}
	for _, c := range cs {
		if code, _ := c.goodbye(t); code != closeRestart {
			t.Errorf("told %d", code)
		}
	}
}

func TestUndeclaredStays(t *testing.T) {
	p := newPair(t, nil, func(g string) http.Handler { return wsEcho(g, func(*http.Request) {}) })
	c := newClient(t, p.ln.Addr())
	c.upgrade(t)
	if d := p.move(t); d.Stayed[reasonUndeclared] != 1 {
		t.Fatalf("departed: %+v", d)
	}
	if code, _ := c.goodbye(t); code != closeRestart {
		t.Errorf("told %d", code)
	}
}

// TestBusyConnectionMovesLater: the answer comes from the old process, the next
// one from the new.
func TestBusyConnectionMovesLater(t *testing.T) {
	release := make(chan struct{})
	p := newPair(t, nil, func(g string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-release
			}
			io.WriteString(w, g)
		})
	})
	c := newClient(t, p.ln.Addr())
	// A second request is in the pipeline.
	io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: test\r\n\r\nGET /next HTTP/1.1\r\nHost: test\r\n\r\n")
	until(t, "the request is served", func() bool { return p.old.Stats().InFlight == 1 })
	done := make(chan Departed, 1)
	go func() { done <- p.move(t) }()
	until(t, "the departure has looked at it", func() bool { return p.old.phase.Load() == departing })
	close(release)
	for _, want := range []string{"old", "new"} {
		resp, body, err := c.answer()
		if err != nil || body != want || resp.Close {
			t.Fatalf("got %q, %v, want %q", body, err, want)
		}
	}
	if d := <-done; d.Moved["http1"] != 1 {
		t.Fatalf("departed: %+v", d)
	}
}

func TestEventStreamMoves(t *testing.T) {
	events := map[string]chan int{"old": make(chan int), "new": make(chan int)}
	over := make(chan struct{})
	t.Cleanup(func() { close(over) }) // for the old handler, whose context does not end
	p := newPair(t, nil, func(g string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			last := r.Header.Get("Last-Event-ID")
			fmt.Fprintf(w, ": %s after %q\n\n", g, last)
			w.(http.Flusher).Flush()
			for {
				select {
				case n := <-events[g]:
					fmt.Fprintf(w, "id: %d\ndata: %s\n\n", n, g)
					w.(http.Flusher).Flush()
				case <-r.Context().Done():
					return
				case <-over:
					return
				}
			}
		})
	})
	c := newClient(t, p.ln.Addr())
	io.WriteString(c, "GET /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n")
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body := bufio.NewReader(resp.Body)
	read := func(n int) (s string) {
		t.Helper()
		for range n {
			line, err := body.ReadString('\n')
			if err != nil {
				t.Fatalf("after %q: %v", s, err)
			}
			s += line
		}
		return s
	}
	events["old"] <- 1
	if got := read(5); got != ": old after \"\"\n\nid: 1\ndata: old\n\n" {
		t.Fatalf("got %q", got)
	}
	if d := p.move(t); d.Moved["sse"] != 1 {
		t.Fatalf("departed: %+v", d)
	}
	if got := read(2); got != ": new after \"1\"\n\n" {
		t.Fatalf("got %q", got)
	}
	// The old handler goes on to take events, and its client does not get them.
	for n := range 2000 {
		events["old"] <- n + 2
	}
	events["new"] <- 2
	if got := read(3); got != "id: 2\ndata: new\n\n" {
		t.Fatalf("got %q", got)
	}
}

func TestGroupMovesAsOne(t *testing.T) {
	type hub struct {
		mu      sync.Mutex
		history []string
	}
	p := newPair(t, nil, func(g string) http.Handler {
		h := &hub{}
		return wsEcho(g, func(r *http.Request) {
			Movable(r.Context())
			m := Group(r.Context(), "room")
			m.Save(func() []byte {
				h.mu.Lock()
				defer h.mu.Unlock()
				return []byte(strings.Join(h.history, ","))
			})
			h.mu.Lock()
			defer h.mu.Unlock()
			if state, ok := m.Resumed(); ok && h.history == nil {
				h.history = []string{"resumed", string(state)}
			}
			h.history = append(h.history, g)
		})
	})
	var cs []*client
	for range 100 {
		c := newClient(t, p.ln.Addr())
		c.upgrade(t)
		cs = append(cs, c)
	}
	f := newFerry(t, p.new)
	p.gate.Shut()
	if d := p.old.Depart(budget(t, patience), f); d.Moved["websocket"] != len(cs) || d.Batches != 1 {
		t.Fatalf("departed: %+v in batches of %v", d, f.taken)
	}
	for _, c := range cs {
		if got := c.say(t, "x"); got != "new:x" {
			t.Fatalf("got %q", got)
		}
	}
}

// TestNobodyAnswers: whatever is on its way comes back.
func TestNobodyAnswers(t *testing.T) {
	p := newPair(t, nil, func(g string) http.Handler { return wsEcho(g, movable) })
	ws, idle := newClient(t, p.ln.Addr()), newClient(t, p.ln.Addr())
	ws.upgrade(t)
	idle.get(t, "/")
	f := newFerry(t, p.new)
	took, leave := make(chan struct{}), make(chan struct{})
	f.hold = func(uint64) { close(took); <-leave }
	ctx, cancel := context.WithCancel(budget(t, patience))
	done := make(chan Departed, 1)
	p.gate.Shut()
	go func() { done <- p.old.Depart(ctx, f) }()
	<-took
	cancel()
	d := <-done
	if len(d.Moved) != 0 {
		t.Fatalf("departed: %+v", d)
	}
	close(leave) // it adopts them, and drops them because nobody reads its answer
	if got := ws.say(t, "hello"); got != "old:hello" {
		t.Fatalf("got %q", got)
	}
	if _, body, err := idle.ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil || body != "old" {
		t.Fatalf("got %q, %v", body, err)
	}
	until(t, "the new process has dropped them", func() bool { return p.new.Stats().Open == 0 })
	if got := ws.say(t, "hello again"); got != "old:hello again" {
		t.Fatalf("got %q", got)
	}
}

// TestLateWrites: what another goroutine of the old process writes reaches the
// client, in order, while the connection is on its way and after that.
func TestLateWrites(t *testing.T) {
	var mu sync.Mutex
	var old net.Conn
	p := newPair(t, nil, func(g string) http.Handler {
		echo := wsEcho(g, movable)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, _ := r.Context().Value(connKey{}).(*Conn); g == "old" {
				mu.Lock()
				old = c
				mu.Unlock()
			}
			echo.ServeHTTP(w, r)
		})
	})
	c := newClient(t, p.ln.Addr())
	c.upgrade(t)
	c.say(t, "x")
	stop := make(chan struct{})
	var wrote int
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			mu.Lock()
			to := old
			mu.Unlock()
			f := textFrame(opText, fmt.Sprint(wrote))
			to.Write(f[:1])
			to.Write(f[1:])
			wrote++
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Microsecond):
			}
		}
	})
	next := 0
	read := func() {
		t.Helper()
		_, payload, err := readFrame(c.in)
		if err != nil || string(payload) != fmt.Sprint(next) {
			t.Fatalf("message %d: %q, %v", next, payload, err)
		}
		next++
	}
	for range 50 {
		read()
	}
	if d := p.move(t); d.Moved["websocket"] != 1 {
		t.Fatalf("departed: %+v", d)
	}
	for range 200 {
		read()
	}
	close(stop)
	wg.Wait()
	for next < wrote {
		read()
	}
	if got := c.say(t, "y"); got != "new:y" {
		t.Fatalf("got %q", got)
	}
}
