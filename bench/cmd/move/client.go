package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a client waits before it calls a message lost.
const patience = 30 * time.Second

// fleet is a number of clients of one kind.
type fleet struct {
	addr     string
	tls      bool
	interval time.Duration // between two messages of a client

	messages   atomic.Int64
	lost       atomic.Int64 // no answer
	disordered atomic.Int64 // another answer than the next one due
	closed     atomic.Int64
	told       atomic.Int64 // Close frames with 1012
	reconnects atomic.Int64 // Connection: close, or a connection that ended
	faults     sync.Map     // first words of what went wrong -> *atomic.Int64

	mu       sync.Mutex
	delays   []delay
	goodbyes []time.Time

	stop chan struct{}
	wg   sync.WaitGroup
}

// delay of one answer from when its question was due.
type delay struct {
	due time.Time
	d   time.Duration
}

func newFleet(addr string, secure bool, interval time.Duration) *fleet {
	return &fleet{addr: addr, tls: secure, interval: interval, stop: make(chan struct{})}
}

// halt ends the clients and waits for them.
func (f *fleet) halt() {
	close(f.stop)
	f.wg.Wait()
}

func (f *fleet) fault(err error) {
	n, _ := f.faults.LoadOrStore(fmt.Sprint(err), new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}

func (f *fleet) dial() (net.Conn, error) {
	c, err := net.Dial("tcp", f.addr)
	if err == nil && f.tls {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}})
	}
	return c, err
}

// launch connects n clients of path, some at a time, and has each talk.
func (f *fleet) launch(n int, path func(i int) string, talk func(net.Conn, *bufio.Reader, func() bool) error) error {
	slots, failed := make(chan struct{}, 32), make(chan error, 1)
	var ready sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		ready.Go(func() {
			defer func() { <-slots }()
			c, r, err := f.open(path(i))
			if err != nil {
				select {
				case failed <- fmt.Errorf("client %d: %w", i, err):
				default:
				}
				return
			}
			f.wg.Go(func() {
				defer c.Close()
				if err := talk(c, r, f.beat()); err != nil {
					f.closed.Add(1)
					f.fault(err)
				}
			})
		})
	}
	ready.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// open connects and, for a path with a stream behind it, has the stream begin.
func (f *fleet) open(path string) (net.Conn, *bufio.Reader, error) {
	c, err := f.dial()
	if err != nil {
		return nil, nil, err
	}
	r := bufio.NewReaderSize(c, 512)
	fields := ""
	switch {
	case path == "":
		return c, r, nil
	case path == "/events":
		fields = "Accept: text/event-stream\r\n"
	default:
		fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: bench\r\n%s\r\n", path, fields); err != nil {
		return nil, nil, err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != 101 && resp.StatusCode != 200 {
		return nil, nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return c, r, nil
}

// beat returns a function that waits until the next message is due, and is false
// at the end. Clients do not beat in step.
func (f *fleet) beat() func() bool {
	next := time.Now().Add(rand.N(f.interval))
	timer := time.NewTimer(0)
	return func() bool {
		timer.Reset(time.Until(next))
		next = next.Add(f.interval)
		select {
		case <-timer.C:
			return true
		case <-f.stop:
			timer.Stop()
			return false
		}
	}
}

func (f *fleet) note(due time.Time) {
	f.messages.Add(1)
	f.mu.Lock()
	f.delays = append(f.delays, delay{due, time.Since(due)})
	f.mu.Unlock()
}

// during returns the delays of what was due in a time, and forgets those before.
func (f *fleet) during(from, to time.Time) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var in []time.Duration
	for _, d := range f.delays {
		if !d.due.Before(from) && d.due.Before(to) {
			in = append(in, d.d)
		}
	}
	f.delays = f.delays[:0]
	return in
}

// echo sends numbered messages and wants each back.
func (f *fleet) echo(c net.Conn, r *bufio.Reader, due func() bool) error {
	payload := bytes.Repeat([]byte("."), 100)
	for n := uint64(0); due(); n++ {
		sent := time.Now()
		binary.BigEndian.PutUint64(payload, n)
		if _, err := c.Write(masked(payload)); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(patience))
		op, got, err := readFrame(r)
		switch {
		case err != nil:
			f.lost.Add(1)
			return err
		case op == 8:
			return fmt.Errorf("told to leave: %x", got)
		case !bytes.Equal(got, payload):
			f.disordered.Add(1)
		}
		f.note(sent)
	}
	return nil
}

// listen waits to be told to leave.
func (f *fleet) listen(c net.Conn, r *bufio.Reader, _ func() bool) error {
	go func() { <-f.stop; c.Close() }()
	for {
		op, got, err := readFrame(r)
		if err != nil {
			select {
			case <-f.stop:
				return nil
			default:
				return err
			}
		}
		if op == 8 && len(got) >= 2 && binary.BigEndian.Uint16(got) == 1012 {
			f.told.Add(1)
			f.mu.Lock()
			f.goodbyes = append(f.goodbyes, time.Now())
			f.mu.Unlock()
			c.Write(maskedFrame(8, got[:2]))
			return nil
		}
	}
}

// ask sends requests on one connection.
func (f *fleet) ask(c net.Conn, r *bufio.Reader, due func() bool) error {
	for due() {
		sent := time.Now()
		if _, err := io.WriteString(c, "GET /json HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
			f.reconnects.Add(1)
			return err
		}
		c.SetReadDeadline(time.Now().Add(patience))
		resp, err := http.ReadResponse(r, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		if err != nil {
			f.lost.Add(1)
			f.reconnects.Add(1)
			return err
		}
		if resp.Close {
			f.reconnects.Add(1)
			return errors.New("asked to reconnect by Connection: close")
		}
		f.note(sent)
	}
	return nil
}

// call makes requests with a client that has the right to repeat what a GOAWAY
// has refused.
func (f *fleet) call(c *http.Client, due func() bool) {
	for due() {
		resp, err := c.Get("https://" + f.addr + "/json")
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		if err == nil && resp.ProtoMajor != 2 {
			err = errors.New("answered by " + resp.Proto)
		}
		if err != nil {
			f.lost.Add(1)
			f.fault(err)
			continue
		}
		f.messages.Add(1)
	}
}

// follow wants the ids of an event stream to be contiguous.
func (f *fleet) follow(c net.Conn, r *bufio.Reader, _ func() bool) error {
	go func() { <-f.stop; c.Close() }()
	lines := bufio.NewReader(chunked(r))
	for want := 1; ; {
		s, err := lines.ReadString('\n')
		if err != nil {
			select {
			case <-f.stop:
				return nil
			default:
				f.reconnects.Add(1)
				return err
			}
		}
		var id int
		if _, err := fmt.Sscanf(s, "id: %d", &id); err != nil {
			continue
		}
		f.messages.Add(1)
		if id != want {
			f.disordered.Add(1)
		}
		want = id + 1
	}
}

// masked is a binary message as a client sends it.
func masked(p []byte) []byte { return maskedFrame(2, p) }

func maskedFrame(op byte, p []byte) []byte {
	b := []byte{0x80 | op, 0x80 | byte(min(len(p), 126))}
	if len(p) >= 126 {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
	}
	return append(append(b, 0, 0, 0, 0), p...) // a mask of zeroes: RFC 6455 asks for a random one, of browsers
}

func readFrame(r *bufio.Reader) (op byte, p []byte, err error) {
	var h [4]byte
	if _, err := io.ReadFull(r, h[:2]); err != nil {
		return 0, nil, err
	}
	n := int(h[1] & 127)
	if n == 126 {
		if _, err := io.ReadFull(r, h[2:4]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(h[2:]))
	}
	p = make([]byte, n)
	_, err = io.ReadFull(r, p)
	return h[0] & 15, p, err
}

// chunked decodes the chunked coding behind a head that was read already.
func chunked(r *bufio.Reader) io.Reader {
	head := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader([]byte(head)), r)), nil)
	if err != nil {
		return r
	}
	return resp.Body
}
