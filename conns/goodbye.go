package conns

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/http"
)

// Announce tells every client that this server is leaving, and goes on serving.
// HTTP/1 clients find Connection: close on the answer to their next request;
// HTTP/2 clients get a GOAWAY now. WebSockets and event streams of HTTP/1 are told
// one after the other, at the [Pace]: [Leaving], and a second later unless the
// handler has said it, a Close frame (1012, or 1001 if nobody is there to come back
// to), or "retry:" and the end of the stream. A client that was told has five
// seconds to close. Announce can be called again, and not taken back.
//
// A request that asks for an upgrade is not told: its Connection header is spoken
// for. If it is not upgraded, the next request on the connection is told.
func (h *HTTP) Announce() {
	h.rise(announced)
	h.tellLeaving()
	h.goAway()
	cs, _ := h.tracker.all()
	for _, c := range cs {
		c.stay(h.whyStay())
	}
}

func (h *HTTP) tellLeaving() { h.leave.Do(func() { close(h.leaving) }) }

// Leaving returns a channel that is closed when the handler of a stream or of a
// hijacked connection has to end by itself. That is by Announce or Depart; for a
// request of HTTP/1 that asks for an upgrade or an event stream, when its turn comes
// ([Pace]), and never if it goes on in another process. ctx is the request's.
// Outside an HTTP the channel is nil and blocks for ever.
func Leaving(ctx context.Context) <-chan struct{} {
	c, l := liveOf(ctx)
	switch {
	case c == nil:
		return nil
	case l == nil:
		return c.leaving
	}
	c.gate.Lock()
	defer c.gate.Unlock()
	if l.leaving == nil {
		l.leaving = make(chan struct{})
		if l.left.Load() {
			close(l.leaving)
		}
	}
	return l.leaving
}

// rise moves on to a phase, never back.
func (h *HTTP) rise(to int32) {
	for p := h.phase.Load(); p < to && !h.phase.CompareAndSwap(p, to); p = h.phase.Load() {
	}
}

// mark says goodbye on a response. net/http turns the header into a GOAWAY on
// HTTP/2, with the same effect as goAway but for this connection only. It is used
// where goAway has no effect (the user brought his own HTTP/2), and with
// a refusal, see greet.
func (h *HTTP) mark(w http.ResponseWriter, r *http.Request, phase int32) {
	if r.ProtoMajor >= 2 && phase != refusing && h.goodbye.Load() != nil {
		return
	}
	if r.Header["Upgrade"] == nil || phase == refusing {
		w.Header().Set("Connection", "close")
		if c, _ := r.Context().Value(connKey{}).(*Conn); c != nil && c.live.Load() == nil {
			why := c.http.whyStay()
			if s := c.stays.Load(); s != nil {
				why = *s
			}
			c.tellOnce(why)
		}
	}
}

// goAway sends GOAWAY on every HTTP/2 connection that has not had one. Their
// streams go on to their end.
func (h *HTTP) goAway() {
	if s := h.goodbye.Load(); s != nil {
		s.Shutdown(context.Background()) // it has neither listeners nor connections to wait for
	}
}

// greet is told of every change of a connection's state. It looks for HTTP/2
// connections that begin after the last goAway and would never be told
// (golang/go#81153): net/http's first report on one follows its registration.
//
// A GOAWAY before the first request makes the client send that request again on
// another connection. That is right once Wait was called and others accept. It is
// wrong while this process is the one that accepts: announced, it serves such
// connections until the next goAway; refusing, it answers first, see mark.
func (h *HTTP) greet(c *Conn, before http.ConnState) {
	p := h.phase.Load()
	if before == http.StateNew && h.waiting.Load() && (p == announced || p == departing) && c.http2.Load() {
		h.goAway()
	}
}

// setUpHTTP2 gives the server net/http's own HTTP/2, but with a handle on it.
//
// net/http sends GOAWAY from a hook that its HTTP/2 registers with
// Server.RegisterOnShutdown, and only Server.Shutdown runs those. So HTTP/2 is
// configured on a second server that never has a connection; its TLSNextProto
// entries go to the real one, which passes itself along when it calls them; and
// Shutdown of the second one is a GOAWAY, repeatable, that touches nothing else.
//
// Whether there is to be HTTP/2 at all is net/http's decision: the second server
// has every field that it depends on. If the user has brought his own ("h2" in
// TLSNextProto), net/http adds none and goodbye remains nil.
func (h *HTTP) setUpHTTP2() {
	second := &http.Server{
		HTTP2:        h.srv.HTTP2,
		Protocols:    h.srv.Protocols,
		IdleTimeout:  h.srv.IdleTimeout,
		ReadTimeout:  h.srv.ReadTimeout,
		TLSNextProto: maps.Clone(h.srv.TLSNextProto),
		TLSConfig:    &tls.Config{},
	}
	if h.srv.TLSConfig != nil {
		second.TLSConfig = h.srv.TLSConfig.Clone() // has its cipher suites checked
	}
	// ServeTLS sets up HTTP/2, looks for a certificate, and then accepts.
	second.TLSConfig.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errNeverServes }
	if err := second.ServeTLS(neverAccepts{}, "", ""); !errors.Is(err, errNeverServes) {
		h.setupErr = err
		return
	}
	for proto, serve := range second.TLSNextProto {
		if _, own := h.srv.TLSNextProto[proto]; own {
			continue
		}
		second.TLSNextProto[proto] = func(srv *http.Server, tc *tls.Conn, next http.Handler) {
			if c := owner(tc); c != nil {
				c.speaksHTTP2()
			}
			serve(srv, tc, next)
		}
		h.goodbye.Store(second)
	}
	if h.goodbye.Load() != nil {
		h.srv.TLSNextProto = second.TLSNextProto
	}
}

var errNeverServes = errors.New("conns: this server does not serve")

type neverAccepts struct{}

func (neverAccepts) Accept() (net.Conn, error) { return nil, errNeverServes }
func (neverAccepts) Close() error              { return nil }
func (neverAccepts) Addr() net.Addr            { return &net.TCPAddr{} }
