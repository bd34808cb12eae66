package verify

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segue-go/segue/internal/testnet"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2service is a service that speaks h2c as well as HTTP/1.1, or h2 over TLS.
func h2service(t *testing.T, h http.Handler, secure bool) (*http.Server, Target) {
	t.Helper()
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	if !secure {
		srv.Protocols.SetUnencryptedHTTP2(true)
		return srv, service(t, srv, "")
	}
	srv.Protocols.SetHTTP2(true)
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS() // for its certificate
	srv.TLSConfig = &tls.Config{Certificates: cert.TLS.Certificates}
	roots := cert.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	cert.Close()
	target := service(t, srv, "")
	target.TLS = &tls.Config{RootCAs: roots}
	target.Host = "example.com"
	return srv, target
}

func h2loads(label string) []Load {
	return []Load{
		{Kind: HTTP2{Label: label, Exchange: Echo, Conns: 2}, Workers: 8, Rate: 200},
		{Kind: HTTP2{Label: label + "-slow", Exchange: SlowWork(200 * time.Millisecond)}, Workers: 3},
		// Longer than every window, so that flow control is at work both ways.
		{Kind: HTTP2{Label: label + "-upload", Exchange: UploadPieces(300<<10, 8, 100*time.Millisecond)}, Workers: 2},
		{Kind: HTTP2{Label: label + "-chunked", Exchange: ChunkedDownload(300<<10, 8, 100*time.Millisecond)}, Workers: 2},
	}
}

func TestHTTP2PerfectService(t *testing.T) {
	for _, label := range []string{"h2", "h2c"} {
		for _, how := range []string{"loopback", "delayed"} {
			t.Run(label+"/"+how, func(t *testing.T) {
				a, path := applied(t)
				_, target := h2service(t, &Handler{Applied: a}, label == "h2")
				if how == "delayed" {
					target = delayed(t, target)
				}
				perfect(t, drive(t, Options{Target: target, Loads: h2loads(label)}, path, EachSent(5, nil)))
			})
		}
	}
}

func TestHTTP1OverTLS(t *testing.T) {
	a, path := applied(t)
	_, target := h2service(t, &Handler{Applied: a}, true)
	perfect(t, drive(t, Options{Target: target, Loads: plain()[:3]}, path, EachSent(5, nil)))
}

// A server that leaves by GOAWAY, under streams in every state, loses nothing
// for a client that honours it.
func TestGracefulGOAWAYIsHonoured(t *testing.T) {
	for _, label := range []string{"h2", "h2c"} {
		t.Run(label, func(t *testing.T) {
			a, path := applied(t)
			first, target := h2service(t, &Handler{Applied: a}, label == "h2")
			_, next := h2service(t, &Handler{Applied: a}, label == "h2") // httptest has one certificate
			p, err := testnet.Start(testnet.Options{OneWay: 5 * time.Millisecond, Target: target.Addr})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.Close() })
			target.Addr = p.Addr()
			r, err := Start(t.Context(), Options{Target: target, Loads: h2loads(label), Timeout: 20 * time.Second, Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := r.Await(ctx, EachSent(2, nil)); err != nil {
				t.Error(err)
			}
			began := time.Now()
			p.SetTarget(next.Addr)
			if err := first.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			ended := time.Now()
			r.Mark("goaway", began, ended)
			if err := r.Await(ctx, EachSent(2, r.Counts())); err != nil {
				t.Error(err)
			}
			res := r.Stop()
			if res.Service, err = r.Compare(path); err != nil {
				t.Fatal(err)
			}
			if err := res.Err(); err != nil {
				t.Error(err)
			}
			if res.Total.Asked != 5 || res.Total.Unasked != 0 {
				t.Errorf("reconnects: %d asked for, %d not, want one for each of 5 connections", res.Total.Asked, res.Total.Unasked)
			}
			for kind, n := range res.Windows[0].InFlight {
				if n == 0 {
					t.Errorf("no %s was in flight", kind)
				}
			}
		})
	}
}

func TestHTTP2FaultsAreFound(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cause Cause
		fail  http.HandlerFunc
	}{
		{"resets the stream", Stream, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }},
		{"resets within the answer", Stream, func(w http.ResponseWriter, r *http.Request) {
			w.Write(make([]byte, 100))
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"answers 503", Server, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", http.StatusServiceUnavailable) }},
		{"answers with another id", Wrong, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(IDHeader, "somebody-else")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, path := applied(t)
			f := &faulty{Handler: &Handler{Applied: a}, every: 20, fail: func(_ *faulty, w http.ResponseWriter, r *http.Request) { tt.fail(w, r) }}
			_, target := h2service(t, f, false)
			res := drive(t, Options{Target: target, Loads: []Load{{Kind: HTTP2{Label: "h2c", Exchange: get}, Workers: 4}}}, path, EachSent(200, nil))
			if hits := int(f.hits.Load()); hits == 0 || res.Total.Lost != hits || res.Total.Causes[tt.cause] != hits {
				t.Errorf("%d failed, %d lost: %v", hits, res.Total.Lost, res.Total.Causes)
			}
		})
	}
}

// scripted is an h2c server that says exactly what a test wants: on is called
// for each request with the number of its connection, and its return ends the
// connection.
type scripted struct {
	conns atomic.Int64
	on    func(conn int, s *scriptedConn, stream uint32, id string) (more bool)
}

type scriptedConn struct {
	*http2.Framer
	buf   bytes.Buffer
	enc   *hpack.Encoder
	first string // id of the first request, for a test's own use
}

// answer is what get expects.
func (s *scriptedConn) answer(stream uint32, id string) {
	s.buf.Reset()
	s.enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	s.enc.WriteField(hpack.HeaderField{Name: "x-request-id", Value: id})
	s.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: s.buf.Bytes(), EndHeaders: true})
	s.WriteData(stream, true, Pattern(id, 500))
}

func (s *scripted) start(t *testing.T) Target {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n := int(s.conns.Add(1))
			wg.Go(func() { defer c.Close(); s.serve(c, n) })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return Target{Addr: ln.Addr().String()}
}

func (s *scripted) serve(c net.Conn, n int) {
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	sc := &scriptedConn{Framer: http2.NewFramer(c, c)}
	sc.enc = hpack.NewEncoder(&sc.buf)
	sc.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	sc.WriteSettings()
	for {
		f, err := sc.ReadFrame()
		if err != nil {
			return
		}
		mh, ok := f.(*http2.MetaHeadersFrame)
		if !ok {
			continue
		}
		id := ""
		for _, hf := range mh.RegularFields() {
			if hf.Name == "x-request-id" {
				id = hf.Value
			}
		}
		if !s.on(n, sc, mh.StreamID, id) {
			return
		}
	}
}

// The rules of GOAWAY, one by one. Every request goes out on the first
// connection; two of them are there when it begins to leave.
func TestRulesOfGOAWAY(t *testing.T) {
	for _, tt := range []struct {
		name           string
		first          func(s *scriptedConn, stream uint32, id string) bool
		lost           int
		cause          Cause
		asked, unasked int
	}{
		{"above the last id: sent again", func(s *scriptedConn, stream uint32, id string) bool {
			if stream == 1 {
				s.first = id
			} else {
				s.WriteGoAway(1, http2.ErrCodeNo, nil)
				s.answer(1, s.first)
			}
			return true
		}, 0, "", 1, 0},
		{"not above the last id, and never answered: lost", func(s *scriptedConn, stream uint32, id string) bool {
			if stream == 3 {
				s.WriteGoAway(3, http2.ErrCodeNo, nil)
			}
			return stream != 3
		}, 2, EOF, 1, 0},
		{"closed without GOAWAY: lost", func(s *scriptedConn, stream uint32, id string) bool {
			return stream != 3
		}, 2, EOF, 0, 1},
		{"refused streams are not sent again", func(s *scriptedConn, stream uint32, id string) bool {
			s.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
			return true
		}, 2, Stream, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &scripted{on: func(conn int, sc *scriptedConn, stream uint32, id string) bool {
				if conn > 1 || stream > 3 {
					sc.answer(stream, id)
					return true
				}
				return tt.first(sc, stream, id)
			}}
			res := drive(t, Options{Target: s.start(t), Loads: []Load{{Kind: HTTP2{Label: "h2c", Exchange: get}, Workers: 2, Rate: 50}}}, "", EachSent(10, nil))
			if res.Total.Lost != tt.lost || res.Total.Causes[tt.cause] != tt.lost || res.Total.Asked != tt.asked || res.Total.Unasked != tt.unasked {
				t.Errorf("%d lost (%v), reconnects asked for %d, not asked for %d", res.Total.Lost, res.Total.Causes, res.Total.Asked, res.Total.Unasked)
			}
		})
	}
}

// A server that turns every connection away must not keep a request for ever.
func TestEndlessGOAWAY(t *testing.T) {
	s := &scripted{on: func(conn int, sc *scriptedConn, stream uint32, id string) bool {
		sc.WriteGoAway(0, http2.ErrCodeNo, nil)
		return true
	}}
	res := drive(t, Options{Target: s.start(t), Loads: []Load{{Kind: HTTP2{Label: "h2c", Exchange: get}}}}, "", EachSent(2, nil))
	if res.Total.Lost != res.Total.Sent || res.Total.Causes[Refused] != res.Total.Sent {
		t.Errorf("lost %d of %d: %v", res.Total.Lost, res.Total.Sent, fmt.Sprint(res.Total.Causes))
	}
}
