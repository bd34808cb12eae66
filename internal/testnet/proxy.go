package testnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Options describe one Proxy.
type Options struct {
	// OneWay is the latency of each direction; a round trip takes twice that.
	OneWay time.Duration
	// Listen is "host:port" or "unix:/path"; empty means 127.0.0.1:0.
	Listen string
	// Target is "host:port" or "unix:/path".
	Target string
}

// Proxy delays the connections it carries. Its methods may be called
// concurrently.
type Proxy struct {
	oneWay time.Duration
	ln     net.Listener
	ctx    context.Context // ends with Close: waits and dials under way end with it
	cancel context.CancelFunc
	wg     sync.WaitGroup // the accept loop and every link

	mu     sync.Mutex
	target string
	links  map[*link]struct{}
}

// Start listens and carries connections until Close.
func Start(o Options) (*Proxy, error) {
	if o.OneWay < 0 {
		return nil, fmt.Errorf("start delay proxy: a latency of %v is not possible", o.OneWay)
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	ln, err := net.Listen(split(o.Listen))
	if err != nil {
		return nil, fmt.Errorf("start delay proxy: %w", err)
	}
	p := &Proxy{oneWay: o.OneWay, ln: ln, target: o.Target, links: make(map[*link]struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is the address to connect to, in the form Options.Target has.
func (p *Proxy) Addr() string {
	if a := p.ln.Addr(); a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return p.ln.Addr().String()
}

// SetTarget changes where connections accepted from now on lead. Those that
// exist stay where they are.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Conns is the number of connections being carried.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Close stops listening, cuts every connection with an RST and returns when
// all goroutines of the proxy have ended.
func (p *Proxy) Close() error {
	p.cancel()
	err := p.ln.Close()
	p.mu.Lock()
	for l := range p.links {
		l.cut()
	}
	p.mu.Unlock()
	p.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil // a second Close
	}
	return err
}

func (p *Proxy) accept() {
	for {
		c, err := p.ln.Accept()
		switch {
		case err == nil:
			p.carry(c, time.Now())
		case errors.Is(err, net.ErrClosed):
			return
		case !pause(p.ctx, 5*time.Millisecond):
			// Out of descriptors, most likely: some are about to be freed, and
			// spinning would keep their owners from the processor.
			return
		}
	}
}

func (p *Proxy) carry(c net.Conn, accepted time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil { // Close has been through the links already
		abort(c)
		return
	}
	l := newLink(p.oneWay, c, accepted)
	p.links[l] = struct{}{}
	target := p.target
	p.wg.Go(func() {
		l.run(p.ctx, target)
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
	})
}

func split(addr string) (network, address string) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return "unix", path
	}
	return "tcp", addr
}

// pause waits for d and reports whether it did, that is, ctx did not end first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
