package conns

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"runtime"
	"testing"
)

// What the layer adds to one HTTP/1 request on a keep-alive connection: its own
// handler, and the two changes of state.
func BenchmarkHTTP1Request(b *testing.B) {
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	h := NewHTTP(srv)
	c, r := benchRequest(b, h, 1)
	b.ReportAllocs()
	for b.Loop() {
		srv.ConnState(c, http.StateActive)
		srv.Handler.ServeHTTP(nil, r)
		srv.ConnState(c, http.StateIdle)
	}
}

func BenchmarkHTTP2Request(b *testing.B) {
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	h := NewHTTP(srv)
	_, r := benchRequest(b, h, 2)
	b.ReportAllocs()
	for b.Loop() {
		srv.Handler.ServeHTTP(nil, r)
	}
}

// benchRequest returns a tracked connection and a request on it whose context is
// nested as net/http nests it.
func benchRequest(b *testing.B, h *HTTP, major int) (net.Conn, *http.Request) {
	near, far := net.Pipe()
	b.Cleanup(func() { near.Close(); far.Close() })
	c := h.tracker.listener(nil, func(c *Conn) { c.kind, c.leaving = kindHTTP1, h.leaving }).admit(near)
	ctx := h.srv.ConnContext(context.Background(), c)
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, c.LocalAddr())
	ctx, cancel := context.WithCancel(ctx)
	b.Cleanup(cancel)
	ctx, cancel = context.WithCancel(ctx)
	b.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", "http://x/items/1", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.ProtoMajor = major
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8")
	r.Header.Set("User-Agent", "bench")
	return c, r
}

// One request over a real connection, without and with the layer.
func BenchmarkRoundTrip(b *testing.B) {
	for _, layer := range []bool{false, true} {
		name := map[bool]string{false: "net-http", true: "conns"}[layer]
		b.Run(name, func(b *testing.B) {
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok")) })}
			addr := benchServe(b, srv, layer)
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			in, req := bufio.NewReader(c), []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			b.ReportAllocs()
			for b.Loop() {
				c.Write(req)
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := in.Discard(int(resp.ContentLength)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Memory of the process for one idle keep-alive connection, without and with the
// layer. It includes the client's end, which is the same in both.
func BenchmarkIdleConnection(b *testing.B) {
	for _, layer := range []bool{false, true} {
		name := map[bool]string{false: "net-http", true: "conns"}[layer]
		b.Run(name, func(b *testing.B) {
			const n = 400
			for b.Loop() {
				srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
				addr := benchServe(b, srv, layer)
				before := inUse()
				clients := make([]net.Conn, n)
				for i := range clients {
					c, err := net.Dial("tcp", addr)
					if err != nil {
						b.Fatal(err)
					}
					c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
					if _, err := http.ReadResponse(bufio.NewReaderSize(c, 512), nil); err != nil {
						b.Fatal(err)
					}
					clients[i] = c
				}
				b.ReportMetric(float64(inUse()-before)/n, "B/conn")
				for _, c := range clients {
					c.Close()
				}
				srv.Close()
			}
		})
	}
}

func benchServe(b *testing.B, srv *http.Server, layer bool) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	if layer {
		h := NewHTTP(srv)
		go h.Serve(NewGate(ln))
	} else {
		go srv.Serve(ln)
	}
	b.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
