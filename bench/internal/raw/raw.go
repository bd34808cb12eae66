// Package raw is a load of keep-alive clients that cost next to nothing, so that
// what is measured is the server.
//
// Promised: every request is answered with 200 and in full before the next one
// on its connection, every message of a WebSocket comes back, none is retried,
// and the first failure is an error.
package raw

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// dialing is how many connections are made at a time, well below the backlog of
// a listening socket.
const dialing = 32

var ok = []byte("HTTP/1.1 200 OK\r\n")

// Load is a set of connections, each of which has had one answer.
type Load struct {
	request []byte
	length  int    // of an answer, which is always the same: the Date header has a fixed width
	begins  []byte // the answer
	conns   []net.Conn
}

// Dial makes n connections to addr and asks for path once on each.
func Dial(addr, path string, n int) (*Load, error) {
	l := &Load{
		request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: application/json\r\n\r\n", path, addr),
		begins:  ok,
	}
	var err error
	if l.length, err = measure(addr, l.request); err != nil {
		return nil, err
	}
	return l, l.connect(addr, n, func(net.Conn) error { return nil })
}

// connect makes n connections, prepares each and has one answer on it.
func (l *Load) connect(addr string, n int, prepare func(net.Conn) error) error {
	l.conns = make([]net.Conn, n)
	var next atomic.Int64
	err := each(min(n, dialing), func(int) error {
		buf := make([]byte, l.length)
		for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			l.conns[i] = c
			if err := prepare(c); err != nil {
				return err
			}
			if err := l.ask(c, buf); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		l.Close()
	}
	return err
}

// measure is the length of an answer in bytes, headers included.
func measure(addr string, request []byte) (int, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	var all bytes.Buffer
	in := bufio.NewReader(io.TeeReader(c, &all))
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK || resp.ContentLength < 0 {
		return 0, fmt.Errorf("cannot use a route that answers %s with length %d", resp.Status, resp.ContentLength)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return all.Len(), err
}

// ask makes one request; buf has the length of an answer.
func (l *Load) ask(c net.Conn, buf []byte) error {
	if _, err := c.Write(l.request); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, buf); err != nil {
		return err
	}
	if !bytes.HasPrefix(buf, l.begins) {
		return fmt.Errorf("answered %.60q", buf)
	}
	return nil
}

// Requests makes n requests, all connections at once, and returns how long that
// took.
func (l *Load) Requests(n int) (time.Duration, error) {
	var left atomic.Int64
	left.Store(int64(n))
	began := time.Now()
	err := each(len(l.conns), func(i int) error {
		buf := make([]byte, l.length)
		for left.Add(-1) >= 0 {
			if err := l.ask(l.conns[i], buf); err != nil {
				return err
			}
		}
		return nil
	})
	return time.Since(began), err
}

// Close closes every connection.
func (l *Load) Close() {
	for _, c := range l.conns {
		if c != nil {
			c.Close()
		}
	}
}

// each runs f for 0 to n-1 at once and joins the errors.
func each(n int, f func(int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
