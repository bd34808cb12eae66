package segue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// load is raw clients that never retry anything: some keep their connections,
// some make a new one for each request, and some pause in between, so that idle
// connections are among them.
type load struct {
	t       testing.TB
	stopped chan struct{}
	clients sync.WaitGroup

	mu      sync.Mutex
	served  map[int]int // by pid
	refused int         // with a clear 503
	away    bool        // nobody listens any more
	lost    []error
}

func drive(t testing.TB, addr string) *load {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	l := &load{t: t, stopped: make(chan struct{}), served: map[int]int{}}
	for i := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, i))
		keep, idle := i < 4, i%2 == 1
		l.clients.Go(func() {
			if err := l.client(addr, keep, idle, rng); err != nil {
				l.mu.Lock()
				l.lost = append(l.lost, err)
				l.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() { l.stop() })
	until(t, "every client is at work", func() bool { return l.count() > 50 })
	return l
}

func (l *load) count() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.served {
		n += c
	}
	return n
}

// by is how many a process has served.
func (l *load) by(pid int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.served[pid]
}

func (l *load) stop() {
	l.mu.Lock()
	select {
	case <-l.stopped:
	default:
		close(l.stopped)
	}
	l.mu.Unlock()
	l.clients.Wait()
}

// none stops the load and fails the test if anything was lost.
func (l *load) none() {
	l.t.Helper()
	l.stop()
	for _, err := range l.lost {
		l.t.Errorf("lost: %v", err)
	}
	l.t.Logf("served %d, refused %d, lost %d", l.count(), l.refused, len(l.lost))
}

// client returns the first thing that was lost. A refusal that says so, and a
// socket that nobody has any more, are not losses, but the end.
func (l *load) client(addr string, keep, idle bool, rng *rand.Rand) error {
	var c *client
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for {
		select {
		case <-l.stopped:
			return nil
		default:
		}
		if c == nil {
			var err error
			if c, err = connect("tcp", addr); errors.Is(err, syscall.ECONNREFUSED) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.away = true
				return nil
			} else if err != nil {
				return fmt.Errorf("connect: %w", err)
			}
		}
		if err := c.send("/"); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		resp, body, err := c.receive()
		if err != nil {
			return fmt.Errorf("receive from %v at %v: %w", c.LocalAddr(), time.Now().Format(time.StampMicro), err)
		}
		if resp.StatusCode == 503 && resp.Close && resp.Header.Get("Retry-After") != "" {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.refused++
			return nil
		}
		pid, err := strconv.Atoi(body)
		if err != nil || resp.StatusCode != 200 {
			return fmt.Errorf("answer %d %q", resp.StatusCode, body)
		}
		l.mu.Lock()
		l.served[pid]++
		l.mu.Unlock()
		if !keep || resp.Close {
			c.Close()
			c = nil
		}
		if idle {
			time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond) // thinks
		}
	}
}
