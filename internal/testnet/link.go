package testnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// stall is how long after its time an RST waits for a receiver that does not
// read, before it overtakes the bytes that have no room there. A real sender's
// kernel drops those bytes when it aborts.
const stall = 100 * time.Millisecond

// link is one connection: two sockets and a flow each way. Four goroutines
// carry it, all joined by run: a reader and a writer per direction.
type link struct {
	accepted time.Time
	oneWay   time.Duration
	down     net.Conn // to the client
	toServer *flow
	toClient *flow
	ctx      context.Context // ends when the link is cut or done
	cancel   context.CancelFunc

	mu  sync.Mutex
	up  net.Conn // to the server; nil until connected
	off bool
}

func newLink(oneWay time.Duration, down net.Conn, accepted time.Time) *link {
	l := &link{accepted: accepted, oneWay: oneWay, down: down,
		// The client may not speak before its handshake is complete: SYN and
		// SYN-ACK have crossed.
		toServer: newFlow(oneWay, accepted.Add(2*oneWay)),
		toClient: newFlow(oneWay, time.Time{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// run carries the link to its end.
func (l *link) run(ctx context.Context, target string) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.cut() // runs before the wait, so that everybody wakes
	wg.Go(func() { l.read(l.down, l.toServer, l.toClient) })

	up, err := l.connect(ctx, target)
	if err != nil {
		if pause(l.ctx, time.Until(l.accepted.Add(2*l.oneWay))) {
			abort(l.down)
		}
		return
	}
	wg.Go(func() { l.read(up, l.toClient, l.toServer) })

	over := make(chan struct{}, 2)
	wg.Go(func() { l.write(up, l.toServer, l.toClient); over <- struct{}{} })
	wg.Go(func() { l.write(l.down, l.toClient, l.toServer); over <- struct{}{} })
	<-over
}

// connect reaches the server one latency after the client asked.
func (l *link) connect(ctx context.Context, target string) (net.Conn, error) {
	if !pause(l.ctx, time.Until(l.accepted.Add(l.oneWay))) {
		return nil, l.ctx.Err()
	}
	network, address := split(target)
	var d net.Dialer
	up, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off {
		abort(up)
		return nil, net.ErrClosed
	}
	l.up = up
	return up, nil
}

// cut ends the link at once. It is also how a link that has ended lets go of
// its sockets: by then a close cannot harm anything.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off {
		return
	}
	l.off = true
	l.cancel()
	l.toServer.close()
	l.toClient.close()
	end := abort
	if l.toServer.finished() && l.toClient.finished() {
		end = func(c net.Conn) { c.Close() } // the kernel goes on delivering what it has
	}
	end(l.down)
	if l.up != nil {
		end(l.up)
	}
}

// read puts what src sends into out, until src ends. back leads to src.
func (l *link) read(src net.Conn, out, back *flow) {
	// An idle connection holds a small buffer; a busy one gets large ones.
	const small, large = 2 << 10, 64 << 10
	size := small
	for {
		buf := make([]byte, size)
		n, err := src.Read(buf)
		if n > 0 && !out.put(buf[:n], open) {
			return
		}
		switch {
		case err == nil && n == size:
			size = min(2*size, large)
		case err == nil && n < size/4:
			size = max(size/2, small)
		case err == nil:
		case errors.Is(err, net.ErrClosed):
			return
		case err == io.EOF && (back.finished() || !hungUp(src)):
			// A hang-up before our own FIN was sent can only be an RST whose
			// error a Write to src has taken away; hence the second condition.
			out.put(nil, fin)
			if awaitReset(src) {
				l.reset(src, out)
			}
			return
		default:
			l.reset(src, out)
			return
		}
	}
}

// reset sends an RST on, and sees to it that a receiver that has stopped
// reading gets it too. src is where it came from.
func (l *link) reset(src net.Conn, out *flow) {
	if !out.put(nil, rst) || !pause(l.ctx, l.oneWay+stall) {
		return
	}
	l.mu.Lock()
	dst := l.up
	l.mu.Unlock()
	if src == dst {
		dst = l.down
	}
	if dst != nil {
		dst.SetWriteDeadline(time.Unix(1, 0))
	}
}

// write delivers in to dst. It returns when the link is over: an RST has been
// delivered, or a FIN in each direction, or the link was cut.
func (l *link) write(dst net.Conn, in, back *flow) {
	broken := false // dst takes no more bytes; only the ending matters
	for {
		e, ok := in.take()
		if !ok || !pause(l.ctx, time.Until(e.due)) {
			return
		}
		switch {
		case e.end == rst:
			abort(dst)
			return
		case e.end == fin:
			if in.finish(); !broken {
				closeWrite(dst)
			}
			if back.finished() {
				return
			}
			// An RST may still follow this FIN, so the wait goes on.
		case broken:
		default:
			if _, err := dst.Write(e.data); err != nil {
				broken = true
				// This write may have taken the socket's error away from the
				// reader of dst, so the RST is reported from here.
				if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
					l.reset(dst, back)
				}
			}
		}
	}
}
