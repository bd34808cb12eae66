package conns

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/segue-go/segue/internal/tls13"
)

// adopt makes a connection of a parcel and its descriptor, which is adopt's. It
// is held until its hold is decided.
func (h *HTTP) adopt(data []byte, fd int, judge func(reason string)) (*Conn, error) {
	p, err := decodeParcel(data)
	if err != nil {
		closeDescriptor(fd)
		return nil, err
	}
	socket, err := adoptSocket(fd, p.network, p.local, p.remote)
	if err != nil {
		return nil, err
	}
	stream, err := h.resume(socket, p)
	if err != nil {
		socket.Close()
		return nil, err
	}
	c := &Conn{Conn: socket, stream: stream, tracker: &h.tracker, since: unseen, state: http.StateIdle, adopted: true}
	h.prepare(c)
	c.secure = p.tls != nil
	c.in.held.add(p.head)
	c.in.held.add(p.carry)
	c.in.busy, c.in.later = p.head != nil, len(p.carry)
	c.deadline.waiting, c.deadline.since = !p.fresh, time.Now()
	if idle := idleTimeout(h.srv); idle > 0 && !p.fresh {
		c.deadline.idle = c.deadline.since.Add(idle)
		c.SetReadDeadline(time.Time{}) // net/http may set none
	}
	if p.head != nil {
		l := &live{kind: p.kind, head: p.head, room: sync.NewCond(&c.gate)} // net/http may answer by itself
		l.out.kind = p.kind
		l.replay = &replay{state: p.state, born: time.Unix(0, p.born), want: p.answer, swallowing: true, judge: judge}
		c.live.Store(l)
	}
	hold := newHold(c, nil)
	hold.told, hold.newborn, hold.quietAt = true, true, time.Now() // it is quiet by birth
	c.hold.Store(hold)
	if p.group != "" {
		m := h.groups.join(c, p.group)
		if p.grouped {
			m.arrive(p.groupState)
		}
	}
	h.tracker.admit(c)
	return c, nil
}

// resume goes on with TLS where the other process was.
func (h *HTTP) resume(socket net.Conn, p *parcel) (net.Conn, error) {
	config := h.tlsConfig()
	switch {
	case p.tls == nil && config == nil:
		return socket, nil
	case p.tls == nil:
		return nil, errors.New("it speaks no TLS, and this server does")
	case config == nil:
		return nil, errors.New("it speaks TLS, and this server does not")
	}
	var state tls13.State
	if err := state.UnmarshalBinary(p.tls); err != nil {
		return nil, err
	}
	clear(p.tls)
	stream, err := tls13.Resume(socket, state, config)
	if err != nil {
		return nil, fmt.Errorf("its TLS cannot be continued: %w", err)
	}
	return stream, nil
}

func idleTimeout(srv *http.Server) time.Duration {
	if srv.IdleTimeout != 0 {
		return srv.IdleTimeout
	}
	return srv.ReadTimeout
}

// face is the connection as net/http is to see it.
func (c *Conn) face() net.Conn {
	if c.secure {
		return secureConn{c}
	}
	return c
}

// unanswered is called when a connection is closed: a replay that ends so is
// refused. It needs Conn.gate.
func (c *Conn) unanswered() {
	if l := c.live.Load(); l != nil && l.replay != nil {
		l.replay.verdict("was closed without an answer when it was served again")
	}
}

// grantStream takes an event stream for served whose handler runs and has not
// answered yet.
func (c *Conn) grantStream() {
	l := c.live.Load()
	if l == nil || l.kind != kindSSE || l.replay == nil {
		return
	}
	c.gate.Lock()
	defer c.gate.Unlock()
	if l.req != nil {
		l.replay.verdict("")
	}
}

// inboxMost bounds what waits for a client that does not keep up with what the
// other process has to say.
const inboxMost = 4 << 20

// hearLate has written what the other process had to say. Whoever writes there no
// longer waits for this client, so the end of one that is too slow is here: what
// would be left out otherwise it would never know of.
func (c *Conn) hearLate(data []byte) {
	l := c.live.Load()
	if l == nil || len(data) == 0 {
		return
	}
	c.gate.Lock()
	slow := len(l.inbox) > inboxMost && c.hold.Load() == nil
	if slow {
		l.inbox, l.broken = nil, errSlow
	}
	c.gate.Unlock()
	if slow {
		c.sever()
		return
	}
	c.say(l, data)
}

var errSlow = errors.New("conns: the client does not keep up with what its old process writes")
