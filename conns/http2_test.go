package conns

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// h2client is the least HTTP/2 client that can ask and see what it is sent. It
// never retries.
type h2client struct{ net.Conn }

const (
	frameData, frameHeaders, frameSettings, frameGoAway = 0, 1, 4, 7
	flagEndStream, flagEndHeaders                       = 1, 4
)

type frame struct {
	kind, flags byte
	stream      uint32
	body        []byte
}

func newH2(t *testing.T, addr net.Addr, overTLS bool) *h2client {
	t.Helper()
	c := dial(t, addr)
	if overTLS {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	}
	h := &h2client{c}
	io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	h.send(t, frame{kind: frameSettings})
	return h
}

func (h *h2client) send(t *testing.T, f frame) {
	t.Helper()
	head := binary.BigEndian.AppendUint32(nil, uint32(len(f.body)))[1:]
	head = binary.BigEndian.AppendUint32(append(head, f.kind, f.flags), f.stream)
	if _, err := h.Write(append(head, f.body...)); err != nil {
		t.Fatal(err)
	}
}

func (h *h2client) next() (frame, error) {
	var head [9]byte
	if _, err := io.ReadFull(h, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: head[3], flags: head[4], stream: binary.BigEndian.Uint32(head[5:])}
	f.body = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	_, err := io.ReadFull(h, f.body)
	return f, err
}

// until reads frames up to one that fits.
func (h *h2client) until(t *testing.T, what string, fits func(frame) bool) (seen []frame) {
	t.Helper()
	for {
		f, err := h.next()
		if err != nil {
			t.Fatalf("no %s: %v", what, err)
		}
		seen = append(seen, f)
		if fits(f) {
			return seen
		}
	}
}

// ask opens a stream: GET of a path, in HPACK's static table and plain literals
// (RFC 7541, appendix A).
func (h *h2client) ask(t *testing.T, stream uint32, path string) {
	block := []byte{0x82, 0x86, 0x04, byte(len(path))} // :method GET, :scheme http, :path
	block = append(append(block, path...), 0x01, 4, 't', 'e', 's', 't')
	h.send(t, frame{frameHeaders, flagEndStream | flagEndHeaders, stream, block})
}

func goAway(f frame) bool { return f.kind == frameGoAway }

func ends(stream uint32) func(frame) bool {
	return func(f frame) bool { return f.stream == stream && f.flags&flagEndStream != 0 && f.kind <= frameHeaders }
}

// everyHTTP2 runs a test over TLS and over plain TCP.
func everyHTTP2(t *testing.T, test func(t *testing.T, overTLS bool, srv *http.Server)) {
	t.Run("TLS", func(t *testing.T) {
		test(t, true, &http.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate()}}})
	})
	t.Run("h2c", func(t *testing.T) {
		p := new(http.Protocols)
		p.SetHTTP1(true)
		p.SetUnencryptedHTTP2(true)
		test(t, false, &http.Server{Protocols: p})
	})
}

func TestAnnounceSendsGoAway(t *testing.T) {
	everyHTTP2(t, func(t *testing.T, overTLS bool, srv *http.Server) {
		in, out := make(chan bool), make(chan bool)
		srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				in <- true
				<-out
			}
			if (r.TLS != nil) != overTLS || r.ProtoMajor != 2 {
				t.Errorf("%s, TLS %v", r.Proto, r.TLS != nil)
			}
			hello(w, r)
		})
		h, g := serve(t, srv, listen(t))
		idle, busy := newH2(t, g.Addr(), overTLS), newH2(t, g.Addr(), overTLS)
		busy.ask(t, 1, "/slow")
		<-in
		busy.ask(t, 3, "/slow")
		<-in
		until(t, "two connections and two streams", func() bool {
			s := h.Stats()
			return s.HTTP2 == 2 && s.Idle == 1 && s.Active == 1 && s.InFlight == 2
		})
		if len(h.InFlight()) != 2 || h.InFlight()[0].Path != "/slow" || h.InFlight()[0].Kind != "h2" {
			t.Errorf("%+v", h.InFlight())
		}
		h.Announce()
		idle.until(t, "GOAWAY when idle", goAway)
		seen := busy.until(t, "GOAWAY when busy", goAway)
		if last := binary.BigEndian.Uint32(seen[len(seen)-1].body); last != 3 {
			t.Errorf("GOAWAY after stream %d", last)
		}
		close(out)
		n := 0
		busy.until(t, "both answers", func(f frame) bool {
			if ends(1)(f) || ends(3)(f) {
				n++
			}
			return n == 2
		})
		for _, c := range []*h2client{idle, busy} {
			c.Close()
		}
		if err := h.Wait(budget(t, patience)); err != nil {
			t.Error(err)
		}
		if s := h.Stats(); s.Served != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// An HTTP/2 connection that comes after Announce is served while this process is
// the one that accepts, told as soon as another is, and answered when refusing.
func TestHTTP2AfterAnnounce(t *testing.T) {
	everyHTTP2(t, func(t *testing.T, overTLS bool, srv *http.Server) {
		srv.Handler = http.HandlerFunc(hello)
		h, g := serve(t, srv, listen(t))
		h.Announce()
		late := newH2(t, g.Addr(), overTLS)
		for _, stream := range []uint32{1, 3} {
			late.ask(t, stream, "/")
			if seen := late.until(t, "answer", ends(stream)); slices.ContainsFunc(seen, goAway) {
				t.Fatal("GOAWAY while no one else accepts")
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		waited := make(chan error)
		go func() { waited <- h.Wait(ctx) }()
		late.until(t, "GOAWAY in Wait", goAway)
		newH2(t, g.Addr(), overTLS).until(t, "GOAWAY after Wait has begun", goAway)

		h.Refuse(0)
		refused := newH2(t, g.Addr(), overTLS)
		refused.ask(t, 1, "/")
		seen := refused.until(t, "answer", ends(1))
		if i := slices.IndexFunc(seen, func(f frame) bool { return f.kind == frameHeaders }); i < 0 || seen[i].body[0] == 0x88 {
			t.Error("served, not refused")
		}
		if !slices.ContainsFunc(seen, goAway) {
			refused.until(t, "GOAWAY with the refusal", goAway)
		}
		cancel()
		<-waited
	})
}

// Go's own client honours GOAWAY; nothing may fail for it.
func TestHTTP2GenerationsLoseNothing(t *testing.T) {
	everyHTTP2(t, func(t *testing.T, overTLS bool, srv *http.Server) {
		root := listen(t)
		var current atomic.Pointer[string]
		addr := root.Addr().String()
		current.Store(&addr)
		root.Close()

		// The successor has another port here, which says no less about GOAWAY and
		// runs on every system.
		tr := &http.Transport{
			Protocols:       new(http.Protocols),
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, *current.Load())
			},
		}
		tr.Protocols.SetHTTP2(overTLS)
		tr.Protocols.SetUnencryptedHTTP2(!overTLS)
		defer tr.CloseIdleConnections()
		url := map[bool]string{true: "https://test/", false: "http://test/"}[overTLS]

		start := func() (*HTTP, *Gate) {
			h, g := serve(t, &http.Server{Handler: http.HandlerFunc(hello), TLSConfig: srv.TLSConfig.Clone(), Protocols: srv.Protocols}, listen(t))
			addr := g.Addr().String()
			current.Store(&addr)
			return h, g
		}
		h, g := start()
		var asked atomic.Int64
		var clients sync.WaitGroup
		stop := make(chan struct{})
		for range 8 {
			clients.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					resp, err := (&http.Client{Transport: tr, Timeout: patience}).Post(url, "text/plain", strings.NewReader("some body"))
					asked.Add(1)
					if err != nil {
						t.Errorf("lost: %v", err)
						continue
					}
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || string(body) != "hello" || resp.ProtoMajor != 2 {
						t.Errorf("lost: %q %v %s", body, err, resp.Proto)
					}
				}
			})
		}
		for range 5 {
			goal := asked.Load() + 200
			until(t, "work", func() bool { return asked.Load() >= goal })
			nh, ng := start()
			g.Shut()
			h.Announce()
			if err := h.Wait(budget(t, patience)); err != nil {
				t.Errorf("%v: %+v", err, h.InFlight())
			}
			h, g = nh, ng
		}
		close(stop)
		clients.Wait()
		t.Logf("%d requests over 5 restarts", asked.Load())
	})
}

// What the user has configured of HTTP/2 is read from his server, though HTTP/2
// was set up on another.
func TestHTTP2ConfigurationIsTheUsers(t *testing.T) {
	cert := []tls.Certificate{certificate()}
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	negotiated := func(t *testing.T, srv *http.Server) string {
		_, g := serve(t, srv, listen(t))
		c := tls.Client(dial(t, g.Addr()), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
		defer c.Close()
		if err := c.HandshakeContext(budget(t, patience)); err != nil {
			t.Fatal(err)
		}
		return c.ConnectionState().NegotiatedProtocol
	}
	own := map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": func(*http.Server, *tls.Conn, http.Handler) {}}
	for _, c := range []struct {
		name, proto string
		srv         *http.Server
	}{
		{"default", "h2", &http.Server{TLSConfig: &tls.Config{Certificates: cert}}},
		{"Protocols", "http/1.1", &http.Server{TLSConfig: &tls.Config{Certificates: cert}, Protocols: http1}},
		{"empty TLSNextProto", "http/1.1", &http.Server{TLSConfig: &tls.Config{Certificates: cert},
			TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}},
		{"own TLSNextProto", "h2", &http.Server{TLSConfig: &tls.Config{Certificates: cert}, TLSNextProto: own}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := negotiated(t, c.srv); got != c.proto {
				t.Errorf("negotiated %q, want %q", got, c.proto)
			}
			if c.srv.TLSConfig.NextProtos != nil {
				t.Error("the user's tls.Config was changed")
			}
		})
	}
	t.Run("HTTP2 and IdleTimeout", func(t *testing.T) {
		_, g := serve(t, &http.Server{
			TLSConfig:   &tls.Config{Certificates: cert},
			HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: 77},
			IdleTimeout: 20 * time.Millisecond,
		}, listen(t))
		seen := newH2(t, g.Addr(), true).until(t, "GOAWAY of IdleTimeout", goAway)
		want := binary.BigEndian.AppendUint32([]byte{0, 3}, 77) // SETTINGS_MAX_CONCURRENT_STREAMS
		if seen[0].kind != frameSettings || !bytes.Contains(seen[0].body, want) {
			t.Errorf("settings: %x", seen[0].body)
		}
	})
	t.Run("cipher suites that HTTP/2 forbids", func(t *testing.T) {
		bad := func() *http.Server {
			return &http.Server{TLSConfig: &tls.Config{Certificates: cert, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}}
		}
		ln := listen(t)
		defer ln.Close()
		want := bad().ServeTLS(ln, "", "")
		if got := NewHTTP(bad()).Serve(ln); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
