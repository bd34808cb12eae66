//go:build unix

package conns

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// badFerry fails when it is told to.
type badFerry struct {
	*ferry
	sends, awaits, goes    int // which of these fails, from 1; 0 is none
	sent, awaited, started int
}

func (f *badFerry) Send(b uint64, whole bool, parcels [][]byte, fds []int) error {
	if f.sent++; f.sent == f.sends {
		return errHostile
	}
	return f.ferry.Send(b, whole, parcels, fds)
}

func (f *badFerry) Await() (uint64, []string, error) {
	if f.awaited++; f.awaited == f.awaits {
		f.Stop()
	}
	b, refusals, err := f.ferry.Await() // also a verdict that was sent before
	if err != nil {
		err = errHostile
	}
	return b, refusals, err
}

func (f *badFerry) Go(b uint64, late [][]byte) error {
	if f.started++; f.started == f.goes {
		f.Stop()
		return errHostile // the end of the channel is as good as Go
	}
	return f.ferry.Go(b, late)
}

// TestCarrierFails: whatever fails, each connection is served by one of the two,
// and nothing that its client has sent or is sent is lost or comes twice.
func TestCarrierFails(t *testing.T) {
	for name, f := range map[string]badFerry{
		"first send":   {sends: 1},
		"third send":   {sends: 3},
		"first await":  {awaits: 1},
		"second await": {awaits: 2},
		"first go":     {goes: 1},
		"second go":    {goes: 2},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, nil, func(g string) http.Handler { return wsEcho(g, movable) })
			var cs []*client
			for range 150 {
				c := newClient(t, p.ln.Addr())
				c.upgrade(t)
				cs = append(cs, c)
			}
			for range 20 {
				c := newClient(t, p.ln.Addr())
				c.get(t, "/")
			}
			p.gate.Shut()
			// Everybody talks, all the time.
			stop := make(chan struct{})
			var talk sync.WaitGroup
			for i, c := range cs {
				talk.Go(func() {
					for n := 0; ; n++ {
						select {
						case <-stop:
							return
						default:
						}
						message := fmt.Sprint(i, " ", n)
						c.Write(textFrame(opText, message))
						_, m, err := readFrame(c.in)
						if err != nil || string(m) != "old:"+message && string(m) != "new:"+message {
							t.Errorf("sent %q, got %q, %v", message, m, err)
							return
						}
					}
				})
			}
			carrier := newFerry(t, p.new)
			f.ferry = carrier
			d := p.old.Move(budget(t, patience), &f)
			carrier.Stop()
			if d.Failure == "" || !strings.Contains(d.Failure, errHostile.Error()) {
				t.Errorf("%+v", d)
			}
			done := make(chan struct{})
			carrier.work <- func() { carrier.arrivals.Gone(); close(done) } // EOF
			<-done
			close(stop)
			talk.Wait()
			old := 0
			for _, c := range cs {
				if strings.HasPrefix(c.say(t, "x"), "old") {
					old++
				}
			}
			if moved := d.Moved["websocket"]; moved+old != len(cs) {
				t.Errorf("%d moved, %d are served by the old one", moved, old)
			}
			until(t, "each is counted once", func() bool { return p.old.Stats().Open+p.new.Stats().Open == len(cs)+20 })
		})
	}
}

// TestRefusedAtRandom: some replays are refused, by chance; those that are stay,
// and a group moves as a whole or not at all.
func TestRefusedAtRandom(t *testing.T) {
	seed := chance(t).Uint64()
	var no atomic.Int64
	p := newPair(t, nil, func(g string) http.Handler {
		echo := wsEcho(g, func(r *http.Request) {
			Movable(r.Context())
			if room := r.Header.Get("Room"); room != "" {
				m := Group(r.Context(), room)
				m.Save(func() []byte { return []byte("state of " + room) })
				if state, ok := m.Resumed(); ok && string(state) != "state of "+room {
					t.Errorf("%s resumes with %q", room, state)
				}
			}
		})
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if g == "new" && rand.New(rand.NewPCG(seed, uint64(len(r.URL.Path)))).IntN(3) == 0 {
				no.Add(1)
				http.NotFound(w, r)
				return
			}
			echo.ServeHTTP(w, r)
		})
	})
	type member struct {
		*client
		room string
	}
	var cs []member
	for i := range 40 {
		room := ""
		if i%2 == 0 {
			room = fmt.Sprint("room ", i/8)
		}
		c := newClient(t, p.ln.Addr())
		fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nRoom: %s\r\n\r\n", strings.Repeat("x", i/4), room)
		if resp, err := http.ReadResponse(c.in, nil); err != nil || resp.StatusCode != 101 {
			t.Fatalf("%v, %v", resp, err)
		}
		cs = append(cs, member{c, room})
	}
	p.gate.Shut()
	d := p.old.Move(budget(t, patience), newFerry(t, p.new))
	where := map[string]string{}
	old := 0
	for _, c := range cs {
		g := c.say(t, "?")
		if g == "old:?" {
			old++
		}
		if before, ok := where[c.room]; ok && c.room != "" && before != g {
			t.Errorf("%s is in %s and %s", c.room, before, g)
		}
		where[c.room] = g
	}
	t.Logf("%d refused, %+v, %v", no.Load(), d, where)
	if d.Moved["websocket"]+old != len(cs) {
		t.Errorf("%d in the old one, %+v", old, d)
	}
}

// publisher sends events, with contiguous ids, to whoever asks for them.
type publisher struct {
	over chan struct{}
	pads int // bytes, so that an event spans several chunks
}

func (pub *publisher) handler(generation string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/events" {
			io.WriteString(w, generation)
			return
		}
		last := int64(0)
		fmt.Sscan(r.Header.Get("Last-Event-ID"), &last)
		w.Header().Set("Content-Type", "text/event-stream")
		f := w.(http.Flusher)
		pause := time.NewTicker(50 * time.Microsecond)
		defer pause.Stop()
		for n := 0; ; n++ {
			select {
			case <-pub.over:
				return
			case <-r.Context().Done():
				return
			case <-pause.C:
			}
			last++
			switch n % 4 {
			case 0: // an id of its own, then fields in writes and chunks of their own
				fmt.Fprintf(w, "id: %d\n", last)
				f.Flush()
				fmt.Fprintf(w, "data: %s\n\n: a comment\n\n", strings.Repeat("x", pub.pads))
			case 1: // several in one chunk, one without an id
				fmt.Fprintf(w, "id: %d\r\ndata: x\r\n\r\ndata: without\r\n\r\n", last)
				last++
				fmt.Fprintf(w, "id: %d\ndata: y\n\n", last)
			default:
				fmt.Fprintf(w, "event: e\nid:%d\ndata\n\n", last)
			}
			f.Flush()
		}
	})
}

// TestEventsContiguous: the ids that a client sees have no gap, whatever moves.
func TestEventsContiguous(t *testing.T) {
	withTLS(t, func(t *testing.T, config *tls.Config) {
		const moves, clients = 25, 3
		pub := &publisher{over: make(chan struct{}), pads: 10 << 10}
		end := sync.OnceFunc(func() { close(pub.over) })
		l := newLine(t, config, pub.handler)
		defer end()
		var seen [clients]atomic.Int64
		var reads sync.WaitGroup
		for i := range clients {
			c := l.dial(config)
			io.WriteString(c, "GET /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n")
			resp, err := http.ReadResponse(c.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			reads.Go(func() {
				body := bufio.NewReader(resp.Body)
				for {
					line, err := body.ReadString('\n')
					if err != nil {
						if err == io.EOF { // the stream is over, and the connection is not
							_, answer, err := c.ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
							if err != nil || answer != fmt.Sprint(moves) {
								t.Errorf("afterwards: %q, %v", answer, err)
							}
							return
						}
						t.Errorf("after %d: %v", seen[i].Load(), err)
						return
					}
					if id, ok := strings.CutPrefix(line, "id:"); ok {
						var n int64
						fmt.Sscan(id, &n)
						if had := seen[i].Swap(n); n != had+1 {
							t.Errorf("%d follows %d", n, had)
							return
						}
					}
				}
			})
		}
		for range moves {
			var before [clients]int64
			for i := range before {
				before[i] = seen[i].Load()
			}
			if d := l.hop(); d.Moved["sse"] != clients {
				t.Fatalf("move %d: %+v", l.moves, d)
			}
			until(t, "events come from the next one", func() bool {
				for i := range before {
					if seen[i].Load() < before[i]+5 {
						return t.Failed()
					}
				}
				return true
			})
		}
		end()
		reads.Wait()
		t.Logf("%d moves, %d events", moves, seen[0].Load())
	})
}

// TestEventStreamRefused: a new version that answers otherwise does not get the
// stream; one that answers late, and otherwise, ends it.
func TestEventStreamRefused(t *testing.T) {
	stream := func(w http.ResponseWriter, id int) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "id: %d\n\n", id)
		w.(http.Flusher).Flush()
	}
	late := make(chan struct{})
	for name, want := range map[string]struct {
		answer http.HandlerFunc
		reason string // "" is taken
		rest   string // of the stream
	}{
		"204":          {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, "was answered 204", ""},
		"404":          {http.NotFound, "was answered 404", ""},
		"not chunked":  {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "9"); stream(w, 2) }, "was not answered with a plain event stream", ""},
		"gzip":         {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Encoding", "gzip"); stream(w, 2) }, "was not answered with a plain event stream", ""},
		"at once over": {func(w http.ResponseWriter, r *http.Request) { stream(w, 2) }, "", "id: 2\n\n"},
		"first event":  {func(w http.ResponseWriter, r *http.Request) { <-late; stream(w, 2) }, "", "id: 2\n\n"},
		"404, late":    {func(w http.ResponseWriter, r *http.Request) { <-late; http.NotFound(w, r) }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			late = make(chan struct{})
			over := make(chan struct{})
			t.Cleanup(func() { close(over) })
			p := newPair(t, nil, func(g string) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.URL.Path == "/":
						io.WriteString(w, g)
					case g == "new":
						want.answer(w, r)
					default:
						stream(w, 1)
						select {
						case <-over:
						case <-r.Context().Done():
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
			first := make([]byte, len("id: 1\n\n"))
			if _, err := io.ReadFull(resp.Body, first); err != nil {
				t.Fatal(err)
			}
			x := cross(t, p.old.only(t), p.new)
			v := x.verdict()
			if v != want.reason {
				t.Fatalf("verdict %q, want %q", v, want.reason)
			}
			if v != "" {
				x.h.thaw()
				until(t, "the new process has forgotten it", func() bool { return p.new.Stats().Open == 0 })
				if p.old.only(t).closed() {
					t.Error("the old process has lost it as well")
				}
				return
			}
			x.arrivals.Go(1, nil)
			p.old.departed.Store(true)
			x.h.leave(func([]byte, bool) { t.Error("an event stream has nothing to forward") })
			close(late)
			rest, err := io.ReadAll(resp.Body)
			if err != nil || string(rest) != want.rest {
				t.Fatalf("%q, %v; want %q", rest, err, want.rest)
			}
			if want.rest == "" {
				if _, err := c.in.ReadByte(); err != io.EOF {
					t.Errorf("%v: the client was to come back on another connection", err)
				}
			} else if _, body, err := c.ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil || body != "new" {
				t.Errorf("afterwards: %q, %v", body, err)
			}
		})
	}
}

// TestCompression: declared before the upgrade, compression is agreed upon
// without a context; with one the connection stays, and says why.
func TestCompression(t *testing.T) {
	p := newPair(t, nil, func(g string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/early" {
				Movable(r.Context())
			}
			c, rw, _ := w.(http.Hijacker).Hijack()
			defer c.Close()
			fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Extensions: %s\r\n\r\n", r.Header.Get("Sec-WebSocket-Extensions"))
			Movable(r.Context())
			for {
				_, m, err := readFrame(rw.Reader)
				if err != nil {
					return
				}
				c.Write(textFrame(opText, g+string(m)))
			}
		})
	})
	cs := map[string]*client{}
	for _, path := range []string{"/early", "/late"} {
		c := newClient(t, p.ln.Addr())
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x\r\n\r\n", path)
		resp, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		x := resp.Header.Get("Sec-WebSocket-Extensions")
		if got := strings.Contains(x, "server_no_context_takeover; client_no_context_takeover"); got != (path == "/early") {
			t.Errorf("%s: %q", path, x)
		}
		cs[path] = c
	}
	p.gate.Shut()
	d := p.old.Move(budget(t, patience), newFerry(t, p.new))
	if d.Moved["websocket"] != 1 {
		t.Errorf("%+v", d)
	}
	for path, want := range map[string]string{"/early": "new", "/late": "old"} {
		if got := cs[path].say(t, ""); got != want {
			t.Errorf("%s is served by the %s one", path, got)
		}
	}
	for _, c := range p.old.tracked() {
		if pr, why := c.prospect(); pr != never || why != reasonCompressed {
			t.Errorf("%v, %q", pr, why)
		}
	}
}

func (h *HTTP) tracked() []*Conn {
	cs, _ := h.tracker.all()
	return cs
}

// TestNothingEndsForTheOldHandler: neither its context, nor its Leaving, nor
// itself.
func TestNothingEndsForTheOldHandler(t *testing.T) {
	type life struct {
		ctx     <-chan struct{}
		leaving <-chan struct{}
	}
	var mu sync.Mutex
	var lives []life
	var returned atomic.Int64
	p := newPair(t, nil, func(g string) http.Handler {
		echo := wsEcho(g, movable)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if g == "old" {
				mu.Lock()
				lives = append(lives, life{r.Context().Done(), Leaving(r.Context())})
				mu.Unlock()
				defer returned.Add(1)
			}
			echo.ServeHTTP(w, r)
		})
	})
	var cs []*client
	for range 20 {
		c := newClient(t, p.ln.Addr())
		c.upgrade(t)
		cs = append(cs, c)
	}
	if d := p.move(t); d.Moved["websocket"] != len(cs) {
		t.Fatalf("%+v", d)
	}
	for _, c := range cs {
		c.say(t, "x")
		c.Close()
	}
	until(t, "the new process has seen the end of them", func() bool { return p.new.Stats().Open == 0 })
	if err := p.old.Wait(budget(t, patience)); err != nil {
		t.Error(err)
	}
	if err := p.old.Shutdown(budget(t, patience)); err != nil {
		t.Error(err)
	}
	for _, l := range lives {
		select {
		case <-l.ctx:
			t.Error("its context has ended")
		case <-l.leaving:
			t.Error("it was told to leave")
		default:
		}
	}
	if n := returned.Load(); n != 0 {
		t.Errorf("%d handlers have returned", n)
	}
}

// TestLateThroughChain: what the first process writes late reaches the client by way of the
// second, from which the connection has moved as well.
func TestLateThroughChain(t *testing.T) {
	es := map[string]chan net.Conn{"0": make(chan net.Conn, 1), "1": make(chan net.Conn, 1), "2": make(chan net.Conn, 1)}
	l := newLine(t, nil, wsEnds(es, movable))
	c := l.dial(nil)
	c.upgrade(t)
	var writers []net.Conn
	for g := range 3 {
		s := <-es[fmt.Sprint(g)]
		writers = append(writers, s)
		go s.Read(make([]byte, 1))
		if g < 2 {
			if d := l.hop(); d.Moved["websocket"] != 1 {
				t.Fatalf("%+v", d)
			}
		}
	}
	for g, w := range writers {
		for n := range 3 {
			want := fmt.Sprint(g, n)
			f := textFrame(opText, want)
			w.Write(f[:1])
			w.Write(f[1:])
			if _, m, err := readFrame(c.in); err != nil || string(m) != want {
				t.Fatalf("%q, %v; want %q", m, err, want)
			}
		}
	}
	writers[2].Close()
}

// TestJoinsLate: who joins a group that is held moves with it.
func TestJoinsLate(t *testing.T) {
	join, joined := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(join); <-joined })
	p := newPair(t, nil, func(g string) http.Handler {
		return wsEcho(g, func(r *http.Request) {
			Movable(r.Context())
			if _, again := Resumed(r.Context()); r.URL.Path == "/late" && !again {
				<-join // it is not answered before
				Group(r.Context(), "room")
				close(joined)
				return
			}
			Group(r.Context(), "room").Save(func() []byte { once(); return nil })
		})
	})
	var cs []*client
	for _, path := range []string{"/ws", "/ws", "/late"} {
		c := newClient(t, p.ln.Addr())
		io.WriteString(c, strings.Replace(wsRequest, "/ws", path, 1))
		cs = append(cs, c)
	}
	for _, c := range cs[:2] {
		if resp, err := http.ReadResponse(c.in, nil); err != nil || resp.StatusCode != 101 {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	until(t, "the last one is with its handler", func() bool { return p.old.Stats().InFlight == 1 })
	f := newFerry(t, p.new)
	p.gate.Shut()
	done := make(chan Departed, 1)
	go func() { done <- p.old.Depart(budget(t, patience), f) }()
	if d := <-done; d.Moved["websocket"] != 3 {
		t.Fatalf("%+v", d)
	}
	if len(f.taken) != 1 {
		t.Errorf("they moved in batches of %v", f.taken)
	}
}

// TestSlowReplay: a group one of whose members is not answered in time is tried
// again as a whole, and so is a connection alone; a group that is refused for a
// better reason is not.
func TestSlowReplay(t *testing.T) {
	var mu sync.Mutex
	replays := map[string]int{}
	again := map[string]chan struct{}{"/slow": make(chan struct{}), "/slow?room=a": make(chan struct{})} // closed with the second replay
	over := make(chan struct{})
	p := newPair(t, nil, func(g string) http.Handler {
		echo := wsEcho(g, func(r *http.Request) {
			Movable(r.Context())
			if room := r.URL.Query().Get("room"); room != "" {
				Group(r.Context(), room)
			}
		})
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if g == "new" {
				mu.Lock()
				replays[r.RequestURI]++
				n := replays[r.RequestURI]
				mu.Unlock()
				switch {
				case r.URL.Path == "/refused":
					http.NotFound(w, r)
					return
				case r.URL.Path == "/never":
					<-over // groups are sent when they are quiet, in whatever order
				case r.URL.Path == "/slow" && n == 1:
					<-again[r.RequestURI]
				case r.URL.Path == "/slow" && n == 2:
					close(again[r.RequestURI])
				}
			}
			echo.ServeHTTP(w, r)
		})
	})
	want := map[string]string{"/slow": "new", "/slow?room=a": "new", "/ws?room=a": "new", "/never?room=b": "old", "/refused?room=b": "old", "/x?room=b": "old"}
	cs := map[string]*client{}
	for uri := range want {
		c := newClient(t, p.ln.Addr())
		io.WriteString(c, strings.Replace(wsRequest, "/ws", uri, 1))
		if resp, err := http.ReadResponse(c.in, nil); err != nil || resp.StatusCode != 101 {
			t.Fatalf("%v, %v", resp, err)
		}
		cs[uri] = c
	}
	d := p.move(t)
	close(over)
	if d.Moved["websocket"] != 3 || d.Stayed[reasonRefused+": another member of its group was answered 404"] != 1 {
		t.Errorf("%+v", d)
	}
	for uri, g := range want {
		if g == "old" {
			if code, _ := cs[uri].goodbye(t); code != closeRestart {
				t.Errorf("%s: told %d", uri, code)
			}
		} else if got := cs[uri].say(t, "x"); got != "new:x" {
			t.Errorf("%s: %q", uri, got)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for uri, n := range map[string]int{"/slow": 2, "/slow?room=a": 2, "/ws?room=a": 2, "/x?room=b": 1} {
		if replays[uri] != n {
			t.Errorf("%s was served %d times, not %d", uri, replays[uri], n)
		}
	}
}

// TestMoveCutShort: a Move whose time is up has nothing in hand any more, and what
// it has not moved the Depart after it does.
func TestMoveCutShort(t *testing.T) {
	p := newPair(t, nil, func(g string) http.Handler { return wsEcho(g, movable) })
	var cs []*client
	for range 20 {
		c := newClient(t, p.ln.Addr())
		c.upgrade(t)
		cs = append(cs, c)
	}
	p.gate.Shut()
	f := newFerry(t, p.new)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if d := p.old.Move(over, f); d.Failure == "" || len(d.Moved) != 0 {
		t.Errorf("moved: %+v", d)
	}
	d := p.old.leavingBy
	if n := len(d.queue) + len(d.armed) + d.waiting + len(d.ready) + len(d.groups) + len(d.flying); n != 0 {
		t.Errorf("it has %d things in hand still", n)
	}
	for _, c := range cs {
		if got := c.say(t, "x"); got != "old:x" {
			t.Fatalf("got %q", got)
		}
	}
	if d := p.old.Depart(budget(t, patience), f); d.Moved["websocket"] != len(cs) {
		t.Errorf("departed: %+v", d)
	}
	for _, c := range cs {
		if got := c.say(t, "x"); got != "new:x" {
			t.Fatalf("got %q", got)
		}
	}
}
