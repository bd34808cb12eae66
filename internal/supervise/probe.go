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
	"strings"
	"time"
)

const (
	probeSpare   = time.Second            // of a round of probes, beyond what each of them may take
	heldFor      = 100 * time.Millisecond // a TCP connection must be, or answered
	commandEvery = time.Second            // at most, as long as it succeeds: trial and probation ask more often
)

// probing is what is known of the probes of one generation. One goroutine at a
// time asks.
type probing struct {
	secure bool              // the server turned out to speak TLS
	passed map[int]time.Time // when a command has last succeeded, by its place
}

// probesWithin is the longest that a round takes.
func (c Config) probesWithin() time.Duration {
	d := probeSpare
	for _, p := range c.Probes {
		d += p.timeout()
	}
	return d
}

func (p Probe) timeout() time.Duration {
	if p.Timeout > 0 {
		return p.Timeout
	}
	return DefaultProbeTimeout
}

// probe asks the probes of g one after the other, in their order: the first that
// fails is the answer.
//
// HTTP and TCP probes use a connection that is passed to the generation, so that
// the answer is surely its own: whoever connects to the shared socket may be served
// by either generation. Of one that cannot be passed a connection they ask the
// socket.
func (s *Service) probe(ctx context.Context, g *generation) error {
	for i, p := range g.recipe.Config.Probes {
		late := fmt.Errorf("nothing came within %v", p.timeout())
		within, cancel := context.WithTimeoutCause(ctx, p.timeout(), late)
		err := s.ask(within, g, i, p)
		if err != nil && within.Err() != nil && !errors.Is(err, late) {
			err = context.Cause(within) // whatever noticed it first
		}
		cancel()
		if err != nil {
			return fmt.Errorf("%v: %w", p, err)
		}
	}
	return nil
}

// String is for errors, of which it is the beginning.
func (p Probe) String() string {
	socket := ""
	if p.Socket != "" {
		socket = fmt.Sprintf(" on %q", p.Socket)
	}
	switch {
	case len(p.Command) > 0:
		return "probe " + strings.Join(p.Command, " ")
	case p.TCP:
		return "probe of TCP" + socket
	}
	return "probe of " + p.Path + socket
}

func (s *Service) ask(ctx context.Context, g *generation, i int, p Probe) error {
	if len(p.Command) > 0 {
		return g.execute(ctx, i, p.Command, s.common.sockets.environ())
	}
	dial, err := s.wayTo(g, p.Socket)
	if err != nil {
		return err
	}
	if p.TCP {
		return held(ctx, dial)
	}
	err = get(ctx, dial, p.Path, g.probing.secure)
	if errors.Is(err, errWantsTLS) {
		g.probing.secure = true
		err = get(ctx, dial, p.Path, true)
	}
	return err
}

// execute runs a command, unless it has succeeded a moment ago.
func (g *generation) execute(ctx context.Context, i int, argv, sockets []string) error {
	if time.Since(g.probing.passed[i]) < commandEvery {
		return nil
	}
	began := time.Now()
	c := command{as: g.recipe.Config, argv: argv, generation: g.number, env: append(sockets, fmt.Sprintf("SEGUE_PROBE_PID=%d", g.process.PID))}
	if err := c.run(ctx); err != nil {
		return err
	}
	if g.probing.passed == nil {
		g.probing.passed = map[int]time.Time{}
	}
	g.probing.passed[i] = began
	return nil
}

// held succeeds when a connection is accepted, and then answered or not closed for
// a moment: a server that cannot serve closes it at once.
func held(ctx context.Context, dial dialer) error {
	c, err := dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(heldFor))
	if _, err := c.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the connection was closed at once: %w", err)
	}
	return nil
}

var errWantsTLS = errors.New("the server wants TLS")

// get asks for a page. TLS is tried when plain HTTP is answered as a TLS server
// answers it; the certificate is not verified, since the probe knows whom it
// talks to.
func get(ctx context.Context, dial dialer, path string, secure bool) error {
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
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
