package verify

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
)

// Target is where requests go.
type Target struct {
	// Addr is "host:port" or "unix:/path".
	Addr string
	// TLS makes connections speak TLS; nil means plain. Its NextProtos are
	// set by the kind that connects, its ServerName is Host if it has none.
	TLS *tls.Config
	// Host is what requests name as their host; empty means the host of Addr,
	// and localhost for a unix socket.
	Host string
}

// Dial connects once. Nothing is tried twice. alpn is offered over TLS.
func (t Target) Dial(ctx context.Context, alpn string) (net.Conn, error) {
	network, addr := "tcp", t.Addr
	if path, ok := strings.CutPrefix(t.Addr, "unix:"); ok {
		network, addr = "unix", path
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil || t.TLS == nil {
		return c, err
	}
	cfg := t.TLS.Clone()
	cfg.NextProtos = []string{alpn}
	if cfg.ServerName == "" {
		cfg.ServerName = t.hostname()
	}
	tc := tls.Client(c, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	if got := tc.ConnectionState().NegotiatedProtocol; got != alpn && (got != "" || alpn != "http/1.1") {
		tc.Close()
		return nil, lossf(Malformed, "the server negotiated %q instead of %q", got, alpn)
	}
	return tc, nil
}

func (t Target) host() string {
	switch {
	case t.Host != "":
		return t.Host
	case strings.HasPrefix(t.Addr, "unix:"):
		return "localhost"
	}
	return t.Addr
}

func (t Target) hostname() string {
	h := t.host()
	if name, _, err := net.SplitHostPort(h); err == nil {
		return name
	}
	return h
}
