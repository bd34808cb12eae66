package supervise

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/segue-go/segue/handover"
)

// probe asks the generation for a page over a connection that is passed to it,
// so that the answer is surely its own: whoever connects to the shared socket
// may be served by either generation. TLS is tried when plain HTTP is answered
// as a TLS server answers it; the certificate is not verified, since the probe
// knows whom it talks to.
func (s *Service) probe(ctx context.Context, g *generation) error {
	for _, p := range g.recipe.Config.Probes {
		if err := s.probeBy(ctx, g, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) probeBy(ctx context.Context, g *generation, p Probe) error {
	socket, err := s.common.sockets.find(p.Socket)
	if err != nil {
		return fmt.Errorf("cannot probe %s: %w", p.Path, err)
	}
	err = s.get(ctx, g, socket, p.Path, s.probeTLS.Load())
	if errors.Is(err, errWantsTLS) {
		s.probeTLS.Store(true)
		err = s.get(ctx, g, socket, p.Path, true)
	}
	if err != nil {
		return fmt.Errorf("probe of %s on %q: %w", p.Path, socket.Name, err)
	}
	return nil
}

var errWantsTLS = errors.New("the server wants TLS")

func (s *Service) get(ctx context.Context, g *generation, to socket, path string, secure bool) error {
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialThrough(ctx, g, to.Name, to.addr.Network())
		},
	}
	defer transport.CloseIdleConnections()
	scheme := "http"
	if secure {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://segue.probe"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "segue-probe")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	switch {
	case resp.StatusCode == http.StatusBadRequest && !secure && string(body) == "Client sent an HTTP request to an HTTPS server.\n":
		return errWantsTLS
	case resp.StatusCode >= 400:
		return fmt.Errorf("answered %s: %q", resp.Status, body)
	}
	return nil
}

// dialThrough makes a connection and passes its other end to the generation.
// For TCP it is a real TCP connection over loopback, since handlers look at the
// address of their client.
func dialThrough(ctx context.Context, g *generation, socket, network string) (net.Conn, error) {
	var d net.Dialer
	address := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "segue-probe-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		address = dir + "/probe"
		d.LocalAddr = &net.UnixAddr{Name: dir + "/prober", Net: network} // clients of unix sockets have no address of their own
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	mine, err := d.DialContext(ctx, network, ln.Addr().String())
	if err != nil {
		return nil, err
	}
	g.probed.Store(mine.LocalAddr().String())
	theirs, err := acceptFrom(ln, mine.LocalAddr())
	if err == nil {
		var f *os.File
		if f, err = handover.Dup(theirs.(syscall.Conn), "probe"); err == nil {
			err = g.call(ctx, handover.Probe, handover.Fields{"SOCKET": socket}, f)
			f.Close()
		}
		theirs.Close()
	}
	if err != nil {
		mine.Close()
		return nil, err
	}
	return mine, nil
}

// acceptFrom ignores whoever else found the listener in its short life.
func acceptFrom(ln net.Listener, want net.Addr) (net.Conn, error) {
	for {
		c, err := ln.Accept()
		if err != nil || ln.Addr().Network() == "unix" || c.RemoteAddr().String() == want.String() {
			return c, err
		}
		c.Close()
	}
}
