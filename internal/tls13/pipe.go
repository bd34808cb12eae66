package tls13

import (
	"net"
	"sync"
	"time"
)

// stream carries bytes in one direction, in memory and without limit.
type stream struct {
	mu   sync.Mutex
	more sync.Cond
	data []byte
	over error // what who reads gets where there is nothing, instead of waiting
}

// put never waits.
func (s *stream) put(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = append(s.data, p...)
	s.more.Broadcast()
}

// end lets nobody wait for more: who reads gets err where there is nothing.
func (s *stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = err
	s.more.Broadcast()
}

func (s *stream) get(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.data) == 0 {
		if s.over != nil {
			return 0, s.over
		}
		s.more.Wait()
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	return n, nil
}

// end is one end of a connection made of two streams. It has no deadlines.
type end struct{ in, out *stream }

func newPipe() (a, b *end) {
	x, y := newStream(), newStream()
	return &end{x, y}, &end{y, x}
}

func newStream() *stream {
	s := new(stream)
	s.more.L = &s.mu
	return s
}

func (e *end) Read(p []byte) (int, error)       { return e.in.get(p) }
func (e *end) Write(p []byte) (int, error)      { e.out.put(p); return len(p), nil }
func (e *end) Close() error                     { return nil }
func (e *end) LocalAddr() net.Addr              { return nil }
func (e *end) RemoteAddr() net.Addr             { return nil }
func (e *end) SetDeadline(time.Time) error      { return nil }
func (e *end) SetReadDeadline(time.Time) error  { return nil }
func (e *end) SetWriteDeadline(time.Time) error { return nil }
