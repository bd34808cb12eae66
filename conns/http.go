package conns

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/internal/tls13"
)

// HTTP is the connection layer under one *http.Server.
type HTTP struct {
	srv     *http.Server
	tracker Tracker

	phase      atomic.Int32 // only ever rises
	retryAfter atomic.Int64 // seconds
	waiting    atomic.Bool  // Wait has been called

	leave   sync.Once
	leaving chan struct{}

	groups    groups
	leavingBy *departure // the last one; it is of whoever calls Move and Depart
	pacer     pacer
	lives     lives
	limits    Limits
	successor atomic.Bool // there is, or was, a process to move to
	ended     chan struct{}
	end       sync.Once // closes ended

	probeTLS func() error // whether the state of crypto/tls can be exported
	warnTLS  sync.Once

	departed atomic.Bool // something has moved
	over     atomic.Bool // Shutdown was called: nothing is forwarded any more

	opened  sync.Once
	serving chan struct{} // closed when gate is set
	gate    *Gate         // of the first listener

	setup    sync.Once
	setupErr error
	goodbye  atomic.Pointer[http.Server] // says GOAWAY; nil if its HTTP/2 is not ours
}

// The phases of an HTTP, in their order.
const (
	open int32 = iota
	departing
	announced
	refusing
)

// NewHTTP puts the layer under srv. It wraps Handler, ConnState and ConnContext,
// so these have to be set before; the originals go on being called (a nil Handler
// is http.DefaultServeMux). It must be called once for a server.
//
// Hooks and hijackers get a *Conn, or a *tls.Conn over one, where they would have
// got a *net.TCPConn; see [Conn.NetConn].
func NewHTTP(srv *http.Server) *HTTP {
	h := &HTTP{srv: srv, leaving: make(chan struct{}), serving: make(chan struct{}), ended: make(chan struct{}), probeTLS: tls13.Supported}
	h.pacer.tell, h.pacer.stop = h.takeTurn, h.ended
	h.tracker.conns = make(map[*Conn]struct{})

	next := srv.Handler
	if next == nil {
		next = http.DefaultServeMux
	}
	srv.Handler = &handler{h, next}

	connContext := srv.ConnContext
	srv.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		if connContext != nil {
			ctx = connContext(ctx, nc)
		}
		return context.WithValue(ctx, connKey{}, owner(nc)) // last, so that it is found first
	}

	connState := srv.ConnState
	srv.ConnState = func(nc net.Conn, s http.ConnState) {
		if c := owner(nc); c != nil {
			h.greet(c, c.enter(s))
		}
		if connState != nil {
			connState(nc, s)
		}
	}
	return h
}

// Serve accepts connections on ln and serves them until Shutdown, when it
// returns nil. It serves TLS if the server's TLSConfig has certificates. ln must
// not do TLS itself: HTTP/2 and the tracking both need the socket beneath. It may
// be called for several listeners, and should be given a Gate.
func (h *HTTP) Serve(ln net.Listener) error {
	h.setup.Do(h.setUpHTTP2)
	if h.setupErr != nil {
		return h.setupErr
	}
	gate, ok := ln.(*Gate)
	if !ok {
		gate = NewGate(ln)
	}
	h.opened.Do(func() {
		h.gate = gate
		close(h.serving)
	})
	config := h.tlsConfig()
	err := h.srv.Serve(&entrance{h, gate, config, h.tracker.listener(gate, func(c *Conn) {
		h.prepare(c)
		c.secure = config != nil
	})})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown is http.Server.Shutdown. It belongs after Wait and Cut: it closes
// every idle connection and drops requests that have been read and not begun.
func (h *HTTP) Shutdown(ctx context.Context) error {
	h.end.Do(func() { close(h.ended) })
	h.Announce() // srv.Shutdown does not reach HTTP/2, see goodbye
	h.over.Store(true)
	if h.phase.Load() >= departing && h.departed.Load() {
		// The handlers of what has moved do not return, and net/http would wait for
		// them.
		ended, cancel := context.WithCancel(ctx)
		cancel()
		h.srv.Shutdown(ended)
		return h.srv.Close()
	}
	return h.srv.Shutdown(ctx)
}

// entry is where arriving connections are let in; nil if nothing is served.
func (h *HTTP) entry() *Gate {
	select {
	case <-h.serving:
		return h.gate
	case <-time.After(replayWithin):
		return nil
	}
}

// Wait returns nil when no connection is left: all are closed, hijacked ones
// too, and their handlers have returned. It closes none, however idle. If ctx
// ends first it returns ctx.Err().
func (h *HTTP) Wait(ctx context.Context) error {
	h.waiting.Store(true)
	if h.phase.Load() >= announced {
		h.goAway()
	}
	return h.tracker.Wait(ctx)
}

// Cut closes the connections that are left and names them; see [Tracker.Cut].
// Those whose turn to be told has not come are told now, as far as that can be done
// within a tenth of a second.
func (h *HTTP) Cut() []Cut {
	if h.phase.Load() >= departing {
		h.lastWords()
	}
	return h.tracker.Cut()
}

// CutIdle closes connections that have had nothing to do for d; see
// [Tracker.CutIdle].
func (h *HTTP) CutIdle(d time.Duration) []Cut { return h.tracker.CutIdle(d) }

// Stats counts connections and requests; see [Tracker.Stats].
func (h *HTTP) Stats() Stats {
	s := h.tracker.Stats()
	s.Live.totals(&h.lives)
	return s
}

// InFlight lists what is being served; see [Tracker.InFlight].
func (h *HTTP) InFlight() []Use { return h.tracker.InFlight() }

// handler is what the server calls for every request. Stacks finds handlers that
// are running by its name.
type handler struct {
	http *HTTP
	next http.Handler
}

func (s *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(connKey{}).(*Conn)
	if c != nil {
		q := c.begin(r)
		defer c.end(q)
	}
	if p := s.http.phase.Load(); p > departing || p == departing && c != nil && c.stays.Load() != nil {
		s.http.mark(w, r, p)
		if p == refusing {
			s.http.refuse(w)
			return
		}
	}
	if c != nil && r.ProtoMajor == 1 {
		if l := c.live.Load(); l != nil {
			s.serveLive(w, r, c, l)
			return
		}
	}
	s.next.ServeHTTP(w, r)
}

// serveLive is ServeHTTP for a request that asks for an upgrade or an event stream.
func (s *handler) serveLive(w http.ResponseWriter, r *http.Request, c *Conn, l *live) {
	if l.crowded {
		s.http.overfull(w)
		return
	}
	s.http.watch()
	if p := s.http.phase.Load(); p >= departing {
		c.stayLive(p)
	}
	if l.kind == kindSSE {
		var done context.CancelFunc
		r, done = c.endable(l, r)
		defer done()
	}
	s.next.ServeHTTP(w, r)
}

type connKey struct{}

// owner returns the Conn at the bottom of nc, or nil.
func owner(nc net.Conn) *Conn {
	for {
		switch c := nc.(type) {
		case *Conn:
			return c
		case secureConn:
			return c.Conn
		case wire:
			return c.c
		case interface{ UnencryptedNetConn() net.Conn }: // net/http's wrapper around h2c
			nc = c.UnencryptedNetConn()
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		default:
			return nil
		}
	}
}
