//go:build unix

package conns

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// wsEnds is a server that hands its ends of the WebSockets to the test.
func wsEnds(ends map[string]chan net.Conn, declare func(r *http.Request)) func(g string) http.Handler {
	return func(g string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			declare(r)
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
			ends[g] <- c
		})
	}
}

func newEnds() map[string]chan net.Conn {
	return map[string]chan net.Conn{"old": make(chan net.Conn, 100), "new": make(chan net.Conn, 100)}
}

// oneRead reads in another goroutine.
func oneRead(c net.Conn) <-chan error {
	done := make(chan error, 1)
	go func() {
		b := make([]byte, 100)
		_, err := c.Read(b)
		done <- err
	}()
	return done
}

func result(t testing.TB, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("the read does not end")
		return nil
	}
}

// TestDeadlinesOfTheApplication go on to hold after a thaw, and a hold is none of
// them.
func TestDeadlinesOfTheApplication(t *testing.T) {
	withTLS(t, func(t *testing.T, config *tls.Config) {
		es := newEnds()
		p := newPair(t, config, wsEnds(es, movable))
		c := p.dial(t, config)
		c.upgrade(t)
		s := <-es["old"]
		conn := p.old.only(t)
		long := time.Now().Add(time.Hour)
		for _, x := range []struct {
			name                  string
			before, during, after time.Time
			times                 bool // the read, begun before the hold, times out
		}{
			{name: "none"},
			{name: "future", before: long},
			{name: "set while held", during: long},
			{name: "over while held", before: long, during: time.Unix(1, 0), times: true},
			{name: "over soon", times: true},
			{name: "lifted while held", before: long, during: time.Time{}},
			{name: "over after it", after: time.Unix(1, 0), times: true},
		} {
			if x.name == "over soon" {
				x.before = time.Now().Add(500 * time.Millisecond)
			}
			s.SetReadDeadline(x.before)
			done := oneRead(s)
			h := quiet(t, conn)
			if !x.during.IsZero() || x.name == "lifted while held" {
				s.SetReadDeadline(x.during)
			}
			if x.name == "over soon" {
				until(t, "it is over", func() bool { return time.Now().After(x.before) })
			}
			select {
			case err := <-done:
				t.Fatalf("%s: %v while it was held", x.name, err)
			default:
			}
			h.thaw()
			if !x.after.IsZero() {
				s.SetReadDeadline(x.after)
			}
			if !x.times {
				c.Write(textFrame(opText, "x"))
			}
			err := result(t, done)
			var ne net.Error
			if timeout := errors.As(err, &ne) && ne.Timeout(); timeout != x.times || err != nil && !timeout {
				t.Errorf("%s: %v", x.name, err)
			}
		}
	})
}

// TestNudgesAreNotSeen: a reader is woken again and again, and held now and then,
// and never sees a timeout.
func TestNudgesAreNotSeen(t *testing.T) {
	withTLS(t, func(t *testing.T, config *tls.Config) {
		es := newEnds()
		p := newPair(t, config, wsEnds(es, movable))
		c := p.dial(t, config)
		c.upgrade(t)
		s := <-es["old"]
		conn := p.old.only(t)
		const messages = 300
		done := make(chan error, 1)
		go func() {
			want := textFrame(opText, "hello")
			for range messages {
				s.SetReadDeadline(time.Now().Add(time.Minute)) // as with pongs
				got := make([]byte, len(want))
				if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, want) {
					done <- fmt.Errorf("%q: %w", got, err)
					return
				}
			}
			done <- nil
		}()
		stop := make(chan struct{})
		var holds sync.WaitGroup
		held := 0
		holds.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				told := make(chan struct{}, 1)
				h := newHold(conn, func(*hold) { told <- struct{}{} })
				conn.arm(h)
				if held++; held%2 == 0 {
					select { // else it is thawed at once, in the middle of its awakening
					case <-told:
					case <-stop:
					}
				}
				h.thaw()
				runtime.Gosched() // a reader that finds the next hold each time it runs reads nothing
			}
		})
		rnd := chance(t)
		for range messages {
			f := textFrame(opText, "hello")
			n := rnd.IntN(len(f))
			c.Write(f[:n])
			c.Write(f[n:])
		}
		err := result(t, done)
		close(stop)
		holds.Wait()
		t.Logf("%d holds", held)
		if err != nil {
			t.Error(err)
		}
	})
}

// TestSaveInTrouble: a Save that does not do what it should has its connection
// stay, unharmed, and the others move.
func TestSaveInTrouble(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	var hub sync.Mutex
	saves := map[string]func() []byte{
		"panics":  func() []byte { panic("no") },
		"hangs":   func() []byte { <-hang; return nil },
		"hangs 2": func() []byte { <-hang; return nil },
		"large":   func() []byte { return make([]byte, 5<<20) },
		"huge":    func() []byte { return make([]byte, stateMost+1) },
		"nil":     func() []byte { return nil },
		"locks": func() []byte { // while writers of the hub have it
			hub.Lock()
			defer hub.Unlock()
			return []byte("locks")
		},
	}
	stays := map[string]bool{"panics": true, "hangs": true, "hangs 2": true, "huge": true}
	p := newPair(t, nil, func(g string) http.Handler {
		return wsEcho(g, func(r *http.Request) {
			Movable(r.Context())
			name := r.Header.Get("Name")
			Save(r.Context(), saves[name])
			if state, ok := Resumed(r.Context()); ok && name == "large" && len(state) != 5<<20 {
				t.Errorf("%d bytes arrived", len(state))
			}
		})
	})
	cs := map[string]*client{}
	for name := range saves {
		c := newClient(t, p.ln.Addr())
		io.WriteString(c, wsRequest[:len(wsRequest)-2]+"Name: "+name+"\r\n\r\n")
		if resp, err := http.ReadResponse(c.in, nil); err != nil || resp.StatusCode != 101 {
			t.Fatal(err)
		}
		cs[name] = c
	}
	// A hub that writes to all, with its lock held.
	all, _ := p.old.tracker.all()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			hub.Lock()
			for _, c := range all {
				c.Write(textFrame(opPing, "from the hub"))
			}
			hub.Unlock()
		}
	}()
	for _, c := range cs { // what the hub writes has to go somewhere
		go io.Copy(io.Discard, c)
	}
	ctx := budget(t, patience)
	p.gate.Shut()
	d := p.old.Depart(ctx, newFerry(t, p.new))
	close(stop)
	<-stopped
	if d.Moved["websocket"] != len(saves)-len(stays) {
		t.Errorf("%+v", d)
	}
	if d.Stayed["its Save took longer than 1s"] != 2 || d.Stayed["its Save panicked: no"] != 1 || d.Stayed[reasonTooMuch] != 1 {
		t.Errorf("%+v", d)
	}
}

// TestLongMessage: 64 MB in fragments are under way; the connection moves when
// they have come, and they come whole.
func TestLongMessage(t *testing.T) {
	p := newPair(t, nil, func(g string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			Movable(r.Context())
			c, rw, _ := w.(http.Hijacker).Hijack()
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			k := &talker{w: c, r: rw.Reader}
			for {
				m, err := k.read()
				if err != nil {
					return
				}
				if n := bytes.Count(m, []byte("x")); n != len(m) {
					t.Errorf("%d of %d bytes are right", n, len(m))
				}
				k.send(rand.New(rand.NewPCG(1, 1)), textFrame(opText, fmt.Sprint(g, len(m))))
			}
		})
	})
	var sending sync.WaitGroup
	t.Cleanup(sending.Wait)
	c := newClient(t, p.ln.Addr())
	c.SetDeadline(time.Now().Add(time.Minute))
	c.upgrade(t)
	const fragment, fragments = 1 << 20, 64
	payload := strings.Repeat("x", fragment)
	send := func(i int) {
		f := textFrame(opContinuation, payload)
		if i == 0 {
			f[0] |= opText
		}
		if i < fragments-1 {
			f[0] &^= 0x80
		}
		if _, err := c.Write(append(f, textFrame(opPing, "")...)); err != nil {
			t.Error(err)
		}
	}
	for i := range 3 {
		send(i)
	}
	p.gate.Shut()
	done := make(chan Departed, 1)
	go func() { done <- p.old.Depart(budget(t, patience), newFerry(t, p.new)) }()
	until(t, "the departure begins", func() bool { return p.old.phase.Load() == departing })
	sending.Go(func() {
		for i := 3; i < fragments; i++ {
			send(i)
		}
	})
	for n := 0; n < 1; {
		op, m, err := readFrame(c.in)
		if err != nil {
			t.Fatal(err)
		}
		if op == opText {
			if n++; string(m[3:]) != fmt.Sprint(fragment*fragments) { // new, if little of it was read when it moved
				t.Fatalf("got %s", m)
			}
		}
	}
	if d := <-done; d.Moved["websocket"] != 1 {
		t.Fatalf("%+v", d)
	}
	c.Write(textFrame(opText, "xx"))
	for {
		op, m, err := readFrame(c.in)
		if err != nil || op == opText && string(m) != "new2" {
			t.Fatalf("%s, %v", m, err)
		}
		if op == opText {
			break
		}
	}
}

// TestSlowClient: a writer that is stuck inside a message holds up nobody else;
// its connection moves when the client has read.
func TestSlowClient(t *testing.T) {
	es := newEnds()
	p := newPair(t, nil, wsEnds(es, movable))
	slow := newClient(t, p.ln.Addr())
	slow.upgrade(t)
	s := <-es["old"]
	const messages = 40
	size := func(n int) int {
		if n == 0 {
			return 40 << 20 // no kernel keeps that
		}
		return 16 << 10
	}
	go func() {
		for n := range messages {
			if _, err := s.Write(textFrame(opText, strings.Repeat(string(rune('a'+n%26)), size(n)))); err != nil {
				t.Error(err)
			}
		}
	}()
	go s.Read(make([]byte, 1))
	conn := p.old.only(t)
	until(t, "the writer is stuck", func() bool {
		conn.gate.Lock()
		defer conn.gate.Unlock()
		return conn.live.Load().writing
	})
	for range 20 {
		newClient(t, p.ln.Addr()).upgrade(t)
		go (<-es["old"]).Read(make([]byte, 1))
	}
	p.gate.Shut()
	done := make(chan Departed, 1)
	go func() { done <- p.old.Depart(budget(t, patience), newFerry(t, p.new)) }()
	until(t, "the others have moved", func() bool { return p.old.Stats().Open == 1 })
	for n := range messages {
		_, m, err := readFrame(slow.in)
		if err != nil || len(m) != size(n) || strings.Count(string(m), string(rune('a'+n%26))) != size(n) {
			t.Fatalf("message %d: %d bytes, %v", n, len(m), err)
		}
	}
	if d := <-done; d.Moved["websocket"] != 21 || d.Failure != "" {
		t.Fatalf("%+v", d)
	}
	for range 21 {
		(<-es["new"]).Close()
	}
}

// TestCloseAtEveryPoint: the handler, or the client, ends the connection at each
// point of the move: both sides see the end and nobody counts it any more.
func TestCloseAtEveryPoint(t *testing.T) {
	withTLS(t, func(t *testing.T, config *tls.Config) {
		for _, who := range []string{"handler", "client"} {
			for point := range 5 {
				t.Run(fmt.Sprint(who, point), func(t *testing.T) {
					es := newEnds()
					p := newPair(t, config, wsEnds(es, movable))
					c := p.dial(t, config)
					c.upgrade(t)
					s := <-es["old"]
					end := func(at int) {
						switch {
						case at != point:
						case who == "handler":
							s.Write(textFrame(opText, "last words"))
							s.Close()
						default:
							c.Close()
						}
					}
					done := oneRead(s)
					conn := p.old.only(t)
					end(0)
					var h *hold
					if point == 0 {
						result(t, done)
						s.Close()
					} else {
						h = quiet(t, conn)
						end(1)
						switch parcel, fd, err := h.pack(nil); {
						case point == 1 && who == "handler":
							if !errors.Is(err, errGone) {
								t.Fatalf("packed: %v", err)
							}
							result(t, done)
						case err != nil:
							t.Fatal(err)
						default:
							end(2)
							x := &crossing{t: t, h: h, verdicts: make(chan []string, 1)}
							x.arrivals = p.new.Arrive(func(_ uint64, refusals []string) error { x.verdicts <- refusals; return nil })
							x.arrivals.Take(1, false, [][]byte{parcel.encode()}, []int{duplicate(t, fd)})
							end(3)
							x.over()
							end(4)
							next := <-es["new"]
							if who == "client" {
								result(t, oneRead(next))
								next.Close()
							} else if point == 4 { // it belongs to the new one now
								c.Write(textFrame(opText, "x"))
								if err := result(t, oneRead(next)); err != nil {
									t.Errorf("after the old handler closed it: %v", err)
								}
								next.Close()
							}
						}
					}
					if who == "handler" {
						if b, err := io.ReadAll(c.in); err != nil {
							t.Errorf("the client reads %q, %v", b, err)
						} else if 1 <= point && point <= 3 && !bytes.Contains(b, []byte("last words")) {
							t.Errorf("the client reads only %q", b)
						}
					}
					until(t, "nobody counts it", func() bool { return p.old.Stats().Open == 0 && p.new.Stats().Open == 0 })
				})
			}
		}
	})
}

// TestGarbage: a client that sends what is no WebSocket does not have a
// departure wait.
func TestGarbage(t *testing.T) {
	es := newEnds()
	p := newPair(t, nil, wsEnds(es, movable))
	for _, garbage := range []string{"\x83\x00", "\x80\x00", "\x09\x00", "\x89\x7e\x00\x80", "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "GET / HTTP/1.1\r\n\r\n"} {
		c := newClient(t, p.ln.Addr())
		c.upgrade(t)
		s := <-es["old"]
		io.WriteString(c, garbage)
		if _, err := io.ReadFull(s, make([]byte, len(garbage))); err != nil {
			t.Fatalf("%q: %v", garbage, err)
		}
		go s.Read(make([]byte, 1))
	}
	p.gate.Shut()
	if d := p.old.Depart(budget(t, patience), newFerry(t, p.new)); d.Failure != "" || d.Stayed[reasonEnding] != 6 {
		t.Fatalf("%+v", d)
	}
}

// TestNobodyReads: a handler that never reads, and one that stops in the middle
// of a message, stay when the time of a departure is up, and are unharmed.
func TestNobodyReads(t *testing.T) {
	es := newEnds()
	p := newPair(t, nil, wsEnds(es, movable))
	deaf, half, idle := newClient(t, p.ln.Addr()), newClient(t, p.ln.Addr()), newClient(t, p.ln.Addr())
	deaf.upgrade(t)
	a := <-es["old"]
	half.upgrade(t)
	b := <-es["old"]
	idle.upgrade(t)
	go (<-es["old"]).Read(make([]byte, 1))
	f := textFrame(opText, "hello")
	b.Write(f[:4])
	got := oneRead(b)
	p.gate.Shut()
	d := p.old.Depart(budget(t, time.Second), newFerry(t, p.new))
	if d.Moved["websocket"] != 1 || d.Failure == "" {
		t.Fatalf("%+v", d)
	}
	b.Write(f[4:])
	a.Write(f)
	for _, c := range []*client{half, deaf} {
		if _, m, err := readFrame(c.in); string(m) != "hello" {
			t.Fatalf("got %q, %v", m, err)
		}
	}
	half.Write(f)
	if err := result(t, got); err != nil {
		t.Error(err)
	}
}

// TestNeverQuiet: who is never between two messages with a reader in Read is told
// after a while, and does not hold up the departure.
func TestNeverQuiet(t *testing.T) {
	es := newEnds()
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	p := newPair(t, nil, func(g string) http.Handler {
		sockets := wsEnds(es, func(r *http.Request) {
			Movable(r.Context())
			if r.URL.Path == "/room" {
				Group(r.Context(), "room")
			}
		})(g)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/events" {
				sockets.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "id: 1\n\n")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-over:
			}
		})
	})
	upgrade := func(path string, reads bool) (*client, net.Conn) {
		c := newClient(t, p.ln.Addr())
		io.WriteString(c, strings.Replace(wsRequest, "/ws", path, 1))
		if resp, err := http.ReadResponse(c.in, nil); err != nil || resp.StatusCode != 101 {
			t.Fatalf("%v, %v", resp, err)
		}
		s := <-es["old"]
		if reads {
			go s.Read(make([]byte, 1))
		}
		return c, s
	}
	upgrade("/idle", true)
	deaf, _ := upgrade("/deaf", false)
	member, _ := upgrade("/room", true)
	deafMember, _ := upgrade("/room", false)
	half, s := upgrade("/half", true)
	first := textFrame(opText, "hel")
	first[0] &^= 0x80
	s.Write(first)
	events := newClient(t, p.ln.Addr())
	io.WriteString(events, "GET /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\nG")
	resp, err := http.ReadResponse(events.in, nil)
	if err != nil {
		t.Fatal(err)
	}

	d := p.move(t)
	if d.Moved["websocket"] != 1 || d.Stayed[reasonNeverQuiet] != 4 || d.Stayed["its group stays: "+reasonNeverQuiet] != 1 {
		t.Errorf("%+v", d)
	}
	s.Write(textFrame(opContinuation, "lo"))
	for c, want := range map[*client]string{deaf: "", member: "", deafMember: "", half: "hello"} {
		got := ""
		for {
			op, m, err := readFrame(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if op == opClose {
				if code := binary.BigEndian.Uint16(m); code != closeRestart || got != want {
					t.Errorf("told %d after %q", code, got)
				}
				break
			}
			got += string(m)
		}
	}
	if stream, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(stream), "retry: ") {
		t.Errorf("%q, %v", stream, err)
	}
}

// TestLateClose: of what an old handler writes late, what comes before a Close frame
// reaches the client, and the new process goes on behind it. If the connection stays
// the client gets all of it.
func TestLateClose(t *testing.T) {
	closing := string(appendFrame(nil, opClose, closePayload(closeGoingAway, "")))
	for _, x := range []struct {
		name, held, after string
		want              []string // the last is the new process's
	}{
		{"while held", string(textFrame(opText, "1")) + string(textFrame(opPing, "2")) + closing + string(textFrame(opText, "lost")), string(textFrame(opText, "lost")), []string{"1", "2", "new"}},
		{"afterwards", string(textFrame(opText, "1")), string(textFrame(opText, "2")) + closing + string(textFrame(opText, "lost")), []string{"1", "2", "new"}},
		{"alone", closing, closing, []string{"new"}},
		{"in a message", string(textFrame(opText, "1")), "\x01\x02lo" + closing + "\x80\x02st", []string{"1", "new"}},
	} {
		for _, thaw := range []bool{false, true} {
			for _, whole := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s thaw=%v whole=%v", x.name, thaw, whole), func(t *testing.T) {
					es := newEnds()
					p := newPair(t, nil, wsEnds(es, movable))
					c := newClient(t, p.ln.Addr())
					c.upgrade(t)
					s := <-es["old"]
					read := oneRead(s)
					write := func(text string) {
						for n := 1; len(text) > 0; text = text[n:] {
							if whole {
								n = len(text)
							}
							if k, err := io.WriteString(s, text[:n]); k != n || err != nil {
								t.Errorf("%d, %v", k, err)
							}
						}
					}
					conn := p.old.only(t)
					if thaw {
						h := quiet(t, conn)
						write(x.held)
						h.thaw()
						got := make([]byte, len(x.held))
						if _, err := io.ReadFull(c.in, got); err != nil || string(got) != x.held {
							t.Errorf("got %q, %v", got, err)
						}
						s.Close()
						result(t, read)
						return
					}
					crossed := cross(t, conn, p.new)
					write(x.held)
					crossed.over()
					write(x.after)
					next := <-es["new"]
					defer next.Close()
					for i, want := range x.want {
						if i == len(x.want)-1 {
							next.Write(textFrame(opText, want))
						}
						if _, m, err := readFrame(c.in); err != nil || string(m) != want {
							t.Fatalf("got %q, %v; want %q", m, err, want)
						}
					}
					if rest := len(conn.live.Load().late); rest > 0 {
						t.Errorf("%d bytes are kept for nobody", rest)
					}
				})
			}
		}
	}
}

// TestLateAndSlow: a client that does not read what its old process goes on to
// write is cut after a while, with nothing left out before; the others are served.
func TestLateAndSlow(t *testing.T) {
	withTLS(t, func(t *testing.T, config *tls.Config) {
		es := newEnds()
		p := newPair(t, config, wsEnds(es, movable))
		slow, other := p.dial(t, config), p.dial(t, config)
		var old []net.Conn
		for _, c := range []*client{slow, other} {
			c.upgrade(t)
			s := <-es["old"]
			go s.Read(make([]byte, 1))
			old = append(old, s)
		}
		if d := p.move(t); d.Moved["websocket"] != 2 {
			t.Fatalf("%+v", d)
		}
		for range 2 {
			s := <-es["new"]
			defer s.Close()
			go s.Read(make([]byte, 1))
		}
		const size = 128 << 10
		sent := 0
		for ; p.new.Stats().Open == 2 && sent < 1000; sent++ {
			if _, err := old[0].Write(textFrame(opText, fmt.Sprintf("%*d", size, sent))); err != nil {
				t.Fatal(err)
			}
			old[1].Write(textFrame(opText, "x"))
			if _, m, err := readFrame(other.in); err != nil || string(m) != "x" {
				t.Fatalf("%q, %v", m, err)
			}
		}
		if sent*size < inboxMost || sent == 1000 {
			t.Errorf("cut after %d bytes", sent*size)
		}
		for n := 0; ; n++ {
			_, m, err := readFrame(slow.in)
			if err != nil {
				t.Logf("cut after %d bytes and %d messages, of which %d arrived", sent*size, sent, n)
				return
			}
			if want := fmt.Sprintf("%*d", size, n); string(m) != want {
				t.Fatalf("message %d is %q", n, bytes.TrimSpace(m))
			}
		}
	})
}

// TestWriteDeadline: a write that times out can be tried again, as without the
// layer.
func TestWriteDeadline(t *testing.T) {
	es := newEnds()
	p := newPair(t, nil, wsEnds(es, movable))
	c := newClient(t, p.ln.Addr())
	c.upgrade(t)
	s := <-es["old"]
	message := textFrame(opBinary, strings.Repeat("x", 32<<20))
	s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	n, err := s.Write(message)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n >= len(message) {
		t.Fatalf("%d, %v", n, err)
	}
	s.SetWriteDeadline(time.Time{})
	go s.Write(message[n:])
	if _, m, err := readFrame(c.in); err != nil || len(m) != 32<<20 {
		t.Fatalf("%d, %v", len(m), err)
	}
	go s.Read(make([]byte, 1))
	if pr, why := p.old.only(t).prospect(); pr != never {
		t.Errorf("%v, %q: nobody knows where its messages end", pr, why)
	}
}
