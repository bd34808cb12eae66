package conns

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"time"
)

// entrance is the listener that an HTTP's server accepts from. TLS is spoken
// here and not by net/http, which keeps what it has decrypted to itself: HTTP/1
// over TLS gets the layer above the encryption, HTTP/2 the bare *tls.Conn, since
// net/http serves it over nothing else.
type entrance struct {
	h      *HTTP
	gate   *Gate
	config *tls.Config // nil without TLS
	*listener
}

// prepare makes c one of this server's.
func (h *HTTP) prepare(c *Conn) {
	c.http, c.kind, c.leaving = h, kindHTTP1, h.leaving
	c.in.mode = modeRequests
}

func (e *entrance) Accept() (net.Conn, error) {
	for {
		nc, err := e.listener.Accept()
		if err != nil {
			return nil, err
		}
		c, fresh := nc.(*Conn)
		if !fresh || c.adopted {
			return nc, nil
		}
		if _, ok := c.Conn.(*tls.Conn); ok {
			c.Close()
			return nil, errors.New("conns: serve a TLS listener: give Serve the listener beneath it and set TLSConfig on the http.Server")
		}
		if e.config == nil {
			return c, nil
		}
		go e.greet(c)
	}
}

// greet does the handshake and lets the connection in.
func (e *entrance) greet(c *Conn) {
	tc := tls.Server(wire{c.Conn, c}, e.config)
	if err := e.handshake(c, tc); err != nil {
		reason := err.Error()
		var re tls.RecordHeaderError
		if errors.As(err, &re) && re.Conn != nil && looksLikeHTTP(re.RecordHeader) {
			io.WriteString(re.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
			reason = "client sent an HTTP request to an HTTPS server"
		}
		c.sever()
		e.h.logf("http: TLS handshake error from %s: %s", c.RemoteAddr(), reason)
		return
	}
	var in net.Conn = tc
	if _, other := e.h.srv.TLSNextProto[tc.ConnectionState().NegotiatedProtocol]; !other {
		in = c.secured(tc)
	}
	if e.gate.Inject(in) != nil {
		c.Close()
	}
}

func (e *entrance) handshake(c *Conn, tc *tls.Conn) error {
	if d := handshakeTimeout(e.h.srv); d > 0 {
		c.Conn.SetDeadline(time.Now().Add(d))
		defer c.Conn.SetDeadline(time.Time{})
	}
	return tc.HandshakeContext(context.Background())
}

// handshakeTimeout is the least of the server's timeouts, as in net/http.
func handshakeTimeout(srv *http.Server) (least time.Duration) {
	for _, d := range []time.Duration{srv.ReadHeaderTimeout, srv.ReadTimeout, srv.WriteTimeout} {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
	}
	return least
}

// looksLikeHTTP reports whether a TLS record header is the beginning of a request.
func looksLikeHTTP(hdr [5]byte) bool {
	return slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO"}, string(hdr[:]))
}

func (h *HTTP) logf(format string, args ...any) {
	if h.srv.ErrorLog != nil {
		h.srv.ErrorLog.Printf(format, args...)
	} else {
		log.Printf(format, args...)
	}
}

// tlsConfig is what ServeTLS would use, or nil if the server has no certificate.
// It follows setUpHTTP2.
func (h *HTTP) tlsConfig() *tls.Config {
	t := h.srv.TLSConfig
	if t == nil || len(t.Certificates) == 0 && t.GetCertificate == nil && t.GetConfigForClient == nil {
		return nil
	}
	t = t.Clone()
	_, h2 := h.srv.TLSNextProto["h2"]
	h1 := h.srv.Protocols == nil || h.srv.Protocols.HTTP1()
	t.NextProtos = slices.DeleteFunc(slices.Clone(t.NextProtos), func(p string) bool {
		return p == "h2" && !h2 || p == "http/1.1" && !h1
	})
	if h2 && !slices.Contains(t.NextProtos, "h2") {
		t.NextProtos = append([]string{"h2"}, t.NextProtos...)
	}
	if h1 && !slices.Contains(t.NextProtos, "http/1.1") {
		t.NextProtos = append(t.NextProtos, "http/1.1")
	}
	return t
}

// secured puts TLS between the socket and the layer.
func (c *Conn) secured(stream net.Conn) secureConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream = stream
	return secureConn{c}
}

// secureConn is a Conn that speaks TLS; net/http asks it for Request.TLS, which a
// plain one must not have.
type secureConn struct{ *Conn }

// ConnectionState returns what the handshake agreed upon.
func (c secureConn) ConnectionState() tls.ConnectionState {
	return c.stream.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
}

// wire is the socket as TLS sees it.
type wire struct {
	net.Conn
	c *Conn
}

func (w wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 && !w.c.heard.Load() {
		w.c.heard.Store(true)
	}
	return n, err
}

// Close closes the whole connection, unless that is who closes.
func (w wire) Close() error {
	w.c.mu.Lock()
	above := w.c.stream != w.c.Conn
	w.c.mu.Unlock()
	if above {
		return w.Conn.Close()
	}
	return w.c.Close()
}
