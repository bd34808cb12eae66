//go:build unix

package conns

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// share opens the gate's socket a second time, as a successor does.
func share(t testing.TB, g *Gate) net.Listener {
	t.Helper()
	f, err := g.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func TestGateFileKeepsTheSocketNonBlocking(t *testing.T) {
	g := NewGate(listen(t))
	out := acceptLoop(t, g)
	f, err := g.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 { // os/exec calls Fd as well
		t.Fatalf("the shared description is blocking (%v)", err)
	}
	if flags, _ := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
		t.Error("every child would inherit it")
	}
	dial(t, g.Addr())
	<-out
	g.Shut() // would hang in a blocking accept
	g.Close()
	if _, err := g.File(); err == nil {
		t.Error("File of a closed gate")
	}
}

// Two processes share a socket and shut and open their gates at random, one of
// them always open. Clients connect, send a byte and want it back: no connection
// may be reset, forgotten, or answered by a gate that is shut.
func TestGatesOnOneSocketLoseNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	first := NewGate(listen(t))
	gates := []*Gate{first, NewGate(share(t, first))}
	var served, inside [2]atomic.Int64
	var servers, clients sync.WaitGroup
	for i, g := range gates {
		defer g.Close()
		servers.Go(func() {
			for {
				c, err := g.accept(func(c net.Conn) net.Conn { inside[i].Add(1); return c })
				if err != nil {
					return
				}
				served[i].Add(1)
				servers.Go(func() { io.Copy(c, c); c.Close() })
			}
		})
	}
	var lost, total atomic.Int64
	stop := make(chan struct{})
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				total.Add(1)
				if err := echo(first.Addr()); err != nil {
					lost.Add(1)
					t.Error(err)
				}
			}
		})
	}
	for i := range 200 {
		shut, other := gates[i%2], gates[(i+1)%2]
		other.Open()
		shut.Shut()
		before := inside[i%2].Load()
		until(t, "the other gate serves", func() func() bool {
			goal := served[(i+1)%2].Load() + rng.Int64N(20)
			return func() bool { return served[(i+1)%2].Load() >= goal }
		}())
		if n := inside[i%2].Load() - before; n != 0 {
			t.Fatalf("round %d: %d connections accepted after Shut", i, n)
		}
	}
	close(stop)
	clients.Wait()
	for _, g := range gates {
		g.Close()
	}
	servers.Wait()
	t.Logf("%d connections, %d lost; served %d and %d", total.Load(), lost.Load(), served[0].Load(), served[1].Load())
}

func echo(addr net.Addr) error {
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte{42}); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}
