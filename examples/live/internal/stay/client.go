package stay

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// Target is where to connect: host:port, or unix:/path. TLS nil is none.
type Target struct {
	Addr string
	TLS  *tls.Config
}

func (t Target) dial() (net.Conn, error) {
	network, addr := "tcp", t.Addr
	if path, ok := strings.CutPrefix(t.Addr, "unix:"); ok {
		network, addr = "unix", path
	}
	nc, err := net.DialTimeout(network, addr, settleTimeout)
	if err != nil || t.TLS == nil {
		return nc, err
	}
	config := t.TLS.Clone()
	config.NextProtos = []string{"http/1.1"}
	return tls.Client(nc, config), nil
}

// patience is how long a service may be silent, or take nothing, before a client
// gives it up.
const patience = 60 * time.Second

// client is one of a load. Its generator is the sender's alone.
type client struct {
	run   *Run
	load  Load
	n     int
	tally *tally
	rng   *rand.Rand

	nc net.Conn
	r  *bufio.Reader

	mu    sync.Mutex // one writer at a time
	state any        // of the kind, between open and stay
}

func (c *client) connect() error {
	nc, err := c.load.Target.dial()
	if err != nil {
		return err
	}
	c.nc, c.r = nc, bufio.NewReaderSize(nc, 32<<10)
	return nil
}

func (c *client) hangUp() {
	if c.nc != nil {
		c.nc.Close()
	}
}

// example notes something that went wrong.
func (c *client) example(format string, args ...any) {
	local := ""
	if c.nc != nil {
		local = c.nc.LocalAddr().String()
	}
	c.tally.examples.add(fmt.Sprintf("%s %d (%s): ", c.load.Name, c.n, local) + fmt.Sprintf(format, args...))
}

// cuts says whether this is one of the clients that write in pieces.
func (c *client) cuts() bool { return c.n%5 == 4 }

// write writes b, cut at random places if this client is one of those. rng is
// the caller's.
func (c *client) write(b []byte, rng *rand.Rand) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc.SetWriteDeadline(time.Now().Add(patience))
	if !c.cuts() {
		_, err := c.nc.Write(b)
		return err
	}
	for len(b) > 0 {
		n := 1 + rng.IntN(len(b))
		if rng.IntN(3) == 0 {
			n = min(n, 1+rng.IntN(8)) // in the middle of a head
		}
		if _, err := c.nc.Write(b[:n]); err != nil {
			return err
		}
		if b = b[n:]; len(b) > 0 {
			time.Sleep(time.Duration(rng.IntN(4_000)) * time.Microsecond)
		}
	}
	return nil
}

// beats calls send at the intended times, until sending ends or send says no. A
// send that takes long is followed by those that have become due.
func (c *client) beats(send func(intended time.Time) bool) {
	// Clients of one load do not beat together.
	next := time.Now().Add(time.Duration(c.rng.Int64N(int64(c.load.Every) + 1)))
	for {
		timer := time.NewTimer(time.Until(next))
		select {
		case <-timer.C:
		case <-c.run.sending.Done():
			timer.Stop()
			return
		}
		if !send(next) {
			return
		}
		next = next.Add(c.load.Every)
	}
}
