//go:build unix

package conns

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// chance is seeded randomness whose seed is printed.
func chance(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %#x", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// line is servers each of which hands its connections to the next.
type line struct {
	t     testing.TB
	make  func(generation string) *http.Server
	ln    net.Listener
	gate  *Gate
	at    *HTTP
	moves int
}

func newLine(t testing.TB, config *tls.Config, handler func(generation string) http.Handler) *line {
	l := &line{t: t, ln: listen(t), make: func(g string) *http.Server {
		return &http.Server{Handler: handler(g), TLSConfig: config}
	}}
	l.at, l.gate = serve(t, l.make("0"), l.ln)
	return l
}

// hop has everything move on, and returns how.
func (l *line) hop() Departed {
	l.t.Helper()
	l.gate.Shut()
	l.moves++
	next, gate := serve(l.t, l.make(fmt.Sprint(l.moves)), listen(l.t))
	d := l.at.Depart(budget(l.t, patience), newFerry(l.t, next))
	if d.Failure != "" {
		l.t.Errorf("move %d: %+v", l.moves, d)
	}
	l.at, l.gate = next, gate
	return d
}

// dial connects, over TLS if config is not nil.
func (l *line) dial(config *tls.Config) *client {
	c := newClient(l.t, l.ln.Addr())
	c.SetDeadline(time.Now().Add(time.Minute))
	if config != nil {
		tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
		c = &client{tc, bufio.NewReader(tc)}
	}
	return c
}

// talker is one side of a WebSocket as a library writes it: whole messages under
// a lock, in pieces.
type talker struct {
	mu sync.Mutex
	w  io.Writer
	r  *bufio.Reader
}

// send writes frames of one message, cut anywhere.
func (k *talker) send(rnd *rand.Rand, frames []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for pieces := rnd.IntN(4); pieces > 0 && len(frames) > 1; pieces-- {
		n := 1 + rnd.IntN(len(frames)-1)
		if _, err := k.w.Write(frames[:n]); err != nil {
			return err
		}
		frames = frames[n:]
	}
	_, err := k.w.Write(frames)
	return err
}

// read returns the next message; pings are answered.
func (k *talker) read() (message []byte, err error) {
	for {
		head, err := k.r.Peek(1)
		if err != nil {
			return nil, err
		}
		final := head[0]&0x80 != 0
		op, payload, err := readFrame(k.r)
		switch {
		case err != nil:
			return nil, err
		case op == opPing:
			k.mu.Lock()
			_, err := k.w.Write(textFrame(opPong, string(payload)))
			k.mu.Unlock()
			if err != nil {
				return nil, err
			}
		case op == opPong:
		case op == opClose:
			return nil, io.EOF
		default:
			if message = append(message, payload...); final {
				return message, nil
			}
		}
	}
}

// fragments cuts a message into frames, with pings between.
func fragments(rnd *rand.Rand, message []byte) (b []byte) {
	op := byte(opBinary)
	for n := rnd.IntN(4); n > 0 && len(message) > 1; n-- {
		k := 1 + rnd.IntN(len(message)-1)
		f := textFrame(op, string(message[:k]))
		f[0] &^= 0x80
		b = append(append(b, f...), textFrame(opPing, "are you there?")...)
		message, op = message[k:], opContinuation
	}
	return append(b, textFrame(op, string(message))...)
}

// numbered is message n, with a checksum.
func numbered(rnd *rand.Rand, n int) []byte {
	size := 1 + rnd.IntN(200)
	if rnd.IntN(8) == 0 {
		size = rnd.IntN(64 << 10)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(n))
	for range size {
		b = append(b, byte(rnd.Uint32()))
	}
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// churn is a server whose handlers echo, and have other goroutines write as well.
type churn struct {
	t       *testing.T
	stop    chan struct{}
	writers sync.WaitGroup
	written sync.Map // name of a writer: *atomic.Int64
	serial  atomic.Int64
	online  atomic.Int64
	ended   atomic.Int64 // handlers that returned, or whose context did
}

func (ch *churn) handler(generation string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Movable(r.Context())
		if _, again := Resumed(r.Context()); !again {
			ch.online.Add(1)
		}
		context := r.Context()
		nc, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		var names []string
		defer func() {
			if discarded(nc) {
				for _, name := range names {
					ch.written.Delete(name)
				}
				return
			}
			ch.ended.Add(1)
			ch.online.Add(-1)
		}()
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")
		k := &talker{w: nc, r: rw.Reader}
		client := r.Header.Get("Client")
		for range 2 {
			name := fmt.Sprintf("%s of %s by %d", client, generation, ch.serial.Add(1))
			names = append(names, name)
			count := new(atomic.Int64)
			ch.written.Store(name, count)
			ch.writers.Go(func() { ch.write(nc, k, name, count) })
		}
		rnd := rand.New(rand.NewPCG(uint64(ch.serial.Load()), 2))
		for {
			m, err := k.read()
			if err != nil {
				return
			}
			if context.Err() != nil {
				ch.ended.Add(1)
			}
			if err := k.send(rnd, textFrame(opBinary, "e"+string(m))); err != nil {
				if !discarded(nc) {
					ch.t.Errorf("%s: %v", client, err)
				}
				return
			}
		}
	})
}

// discarded reports whether c is of a replay that was not answered in time: it is
// served again.
func discarded(c net.Conn) bool {
	h := owner(c).hold.Load()
	return h != nil && outcome(h.outcome.Load()) == dropped
}

// write says things that nobody asked for, also when the connection has moved.
func (ch *churn) write(c net.Conn, k *talker, name string, count *atomic.Int64) {
	rnd := rand.New(rand.NewPCG(uint64(len(name)), uint64(ch.serial.Add(1))))
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for n := range 200 {
		if err := k.send(rnd, textFrame(opText, fmt.Sprintf("l%s %d", name, n))); err != nil {
			if !discarded(c) {
				ch.t.Errorf("%s: %v", name, err)
			}
			return
		}
		count.Store(int64(n + 1))
		select {
		case <-ch.stop:
			return
		case <-pause.C:
		}
	}
}

// chatter is a client that sends all the time and checks all that comes.
type chatter struct {
	name  string
	sent  atomic.Int64
	heard atomic.Int64
	late  sync.Map // name of a writer: messages so far
}

func (ch *chatter) converse(c *client, rnd *rand.Rand, stop chan struct{}) error {
	k := &talker{w: c.Conn, r: c.in}
	sums := make(chan uint32, 16)
	failed := make(chan error, 1)
	go func() {
		defer close(sums)
		for n := 0; ; n++ {
			select {
			case <-stop:
				failed <- nil
				return
			default:
			}
			m := numbered(rnd, n)
			sums <- crc32.ChecksumIEEE(m)
			if err := k.send(rnd, fragments(rnd, m)); err != nil {
				failed <- fmt.Errorf("sending message %d: %w", n, err)
				return
			}
			ch.sent.Add(1)
		}
	}()
	for sum := range sums {
		for echoed := false; !echoed; {
			m, err := k.read()
			if err != nil {
				return fmt.Errorf("%s, waiting for message %d: %w", ch.name, ch.heard.Load(), err)
			}
			if m[0] == 'l' {
				if err := ch.note(string(m[1:])); err != nil {
					return err
				}
				continue
			}
			if crc32.ChecksumIEEE(m[1:]) != sum {
				return fmt.Errorf("%s: message %d came back as %d bytes of another", ch.name, ch.heard.Load(), len(m))
			}
			echoed = true
			ch.heard.Add(1)
		}
	}
	return <-failed
}

func (ch *chatter) note(m string) error {
	var n int64
	i := len(m) - 1
	for m[i] != ' ' {
		i--
	}
	fmt.Sscan(m[i+1:], &n)
	had, _ := ch.late.LoadOrStore(m[:i], new(atomic.Int64))
	if got := had.(*atomic.Int64).Add(1) - 1; got != n {
		return fmt.Errorf("%s: message %d of %q came as number %d", ch.name, n, m[:i], got)
	}
	return nil
}

// TestChurn: whatever moves, and however often, nothing is lost, comes twice or
// in another order, and no connection ends.
func TestChurn(t *testing.T) { churnOver(t, nil, 6, 20) }

func churnOver(t *testing.T, config *tls.Config, clients, moves int) {
	ch := &churn{t: t, stop: make(chan struct{})}
	l := newLine(t, config, ch.handler)
	stop := make(chan struct{})
	var talking sync.WaitGroup
	silence := sync.OnceFunc(func() {
		close(stop)
		talking.Wait()
		close(ch.stop)
		ch.writers.Wait()
	})
	defer silence()
	var cs []*chatter
	var conns []*client
	for i := range clients {
		c := l.dial(config)
		io.WriteString(c, wsRequest[:len(wsRequest)-2]+fmt.Sprintf("Client: %d\r\n\r\n", i))
		if resp, err := http.ReadResponse(c.in, nil); err != nil || resp.StatusCode != 101 {
			t.Fatalf("upgrade: %v, %v", resp, err)
		}
		who, rnd := &chatter{name: fmt.Sprint(i)}, chance(t)
		cs, conns = append(cs, who), append(conns, c)
		talking.Go(func() {
			if err := who.converse(c, rnd, stop); err != nil {
				t.Error(err)
			}
		})
	}
	var longest, took time.Duration
	for range moves {
		before := make([]int64, len(cs))
		for i, c := range cs {
			before[i] = c.heard.Load()
		}
		d := l.hop()
		if d.Moved["websocket"] != clients {
			t.Fatalf("move %d: %+v", l.moves, d)
		}
		longest, took = max(longest, d.Pause), took+d.Took
		if t.Failed() {
			break
		}
		until(t, "everybody has talked to the next process", func() bool {
			for i, c := range cs {
				if c.heard.Load() == before[i] && !t.Failed() {
					return false
				}
			}
			return true
		})
	}
	silence()
	// What was written late is still coming.
	late := 0
	ch.written.Range(func(name, count any) bool {
		var i int
		fmt.Sscan(name.(string), &i)
		want := count.(*atomic.Int64).Load()
		late += int(want)
		k := &talker{w: conns[i].Conn, r: conns[i].in}
		for got := int64(0); !t.Failed(); {
			if had, ok := cs[i].late.Load(name); ok {
				got = had.(*atomic.Int64).Load()
			}
			if got == want {
				break
			}
			m, err := k.read()
			if err == nil {
				err = cs[i].note(string(m[1:]))
			}
			if err != nil {
				t.Errorf("%v: has %d of %d: %v", name, got, want, err)
			}
		}
		return true
	})
	total := int64(0)
	for _, c := range cs {
		total += c.heard.Load()
	}
	t.Logf("%d moves in %v, the longest pause %v: %d messages echoed, %d written late", l.moves, took, longest, total, late)
	if n := ch.online.Load(); n != int64(clients) || ch.ended.Load() != 0 {
		t.Errorf("%d online, %d handlers ended; want %d and none", n, ch.ended.Load(), clients)
	}
}

var errHostile = errors.New("not today")
