package conns

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRefuse(t *testing.T) {
	in, out := make(chan bool), make(chan bool)
	h, g := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in <- true
		<-out
		hello(w, r)
	})}, listen(t))
	busy := newClient(t, g.Addr())
	io.WriteString(busy, "GET / HTTP/1.1\r\nHost: test\r\n\r\n")
	<-in
	h.Refuse(time.Minute)
	h.Refuse(1500 * time.Millisecond)
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 60000\r\n\r\n" + strings.Repeat("x", 60000),
	} {
		c := newClient(t, g.Addr())
		resp, body, err := c.ask(request)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 503 || !resp.Close || resp.Header.Get("Retry-After") != "2" ||
			body != "This server is stopping. Try again in 2 s.\n" {
			t.Errorf("%v %q", resp, body)
		}
	}
	out <- true
	if resp, body, err := busy.answer(); err != nil || resp.StatusCode != 200 || body != "hello" {
		t.Errorf("in flight: %v %q %v", resp, body, err)
	}
	if resp := busy.get(t, "/"); resp.StatusCode != 503 {
		t.Errorf("%v", resp)
	}
	if err := h.Wait(budget(t, patience)); err != nil {
		t.Error(err)
	}
}

func TestUsersHooksStillRun(t *testing.T) {
	type key struct{}
	var mu sync.Mutex
	var states []http.ConnState
	h, g := serve(t, &http.Server{
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if _, ok := c.(*Conn).NetConn().(*net.TCPConn); !ok {
				t.Errorf("%T", c.(*Conn).NetConn())
			}
			return context.WithValue(ctx, key{}, "value")
		},
		ConnState: func(c net.Conn, s http.ConnState) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, s)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Context().Value(key{}) != "value" {
				t.Error("ConnContext is lost")
			}
		}),
	}, listen(t))
	c := newClient(t, g.Addr())
	c.get(t, "/")
	c.Close()
	if err := h.Wait(budget(t, patience)); err != nil {
		t.Fatal(err)
	}
	want := []http.ConnState{http.StateNew, http.StateActive, http.StateIdle, http.StateClosed}
	until(t, "all states", func() bool { mu.Lock(); defer mu.Unlock(); return slices.Equal(states, want) })
}

func TestNilHandlerIsDefaultServeMux(t *testing.T) {
	_, g := serve(t, &http.Server{}, listen(t))
	if resp := newClient(t, g.Addr()).get(t, "/nothing"); resp.StatusCode != 404 {
		t.Error(resp.Status)
	}
}

func TestPanicInHandlerIsNotLeftRunning(t *testing.T) {
	h, g := serve(t, &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("test") })}, listen(t))
	if _, _, err := newClient(t, g.Addr()).ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err == nil {
		t.Error("answered")
	}
	if err := h.Wait(budget(t, patience)); err != nil {
		t.Error(err)
	}
}

func TestTLSListenerIsRejected(t *testing.T) {
	ln := listen(t)
	defer ln.Close()
	h := NewHTTP(&http.Server{ErrorLog: log.New(io.Discard, "", 0)})
	done := make(chan error)
	go func() {
		done <- h.Serve(tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{certificate()}}))
	}()
	dial(t, ln.Addr())
	if err := <-done; err == nil || !strings.Contains(err.Error(), "TLSConfig") {
		t.Error(err)
	}
	if h.Stats().Open != 0 {
		t.Errorf("%+v", h.Stats())
	}
}

func TestFileIsServedThroughReadFrom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	content := strings.Repeat("0123456789", 100_000)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"tcp", "unix"} {
		addr := map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")}[network]
		ln, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		_, g := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, path)
		})}, ln)
		if _, body, err := newClient(t, g.Addr()).ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil || body != content {
			t.Errorf("%s: %d bytes, %v", network, len(body), err)
		}
	}
}

func TestTrackerOfAnotherServer(t *testing.T) {
	var tr Tracker
	g := NewGate(listen(t))
	ln := tr.Listener(g)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { io.Copy(c, c); c.Close() })
		}
	})
	if err := tr.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	busy, silent := dial(t, g.Addr()), dial(t, g.Addr())
	io.WriteString(busy, "x")
	until(t, "both", func() bool { s := tr.Stats(); return s.Active == 1 && s.New == 1 && s.Other == 2 })
	silent.Close()
	until(t, "one", func() bool { return tr.Stats().Open == 1 })
	cuts := tr.Cut()
	if len(cuts) != 1 || cuts[0].Reason != ReasonInFlight || cuts[0].Kind != "other" {
		t.Errorf("%+v", cuts)
	}
	if err := tr.Wait(budget(t, patience)); err != nil {
		t.Error(err)
	}
	ln.Close()
	conns.Wait()
}

func TestKindOf(t *testing.T) {
	for _, c := range []struct {
		major       int
		header, val string
		want        kind
	}{
		{1, "Accept", "text/html,*/*", kindHTTP1},
		{1, "Accept", "text/event-stream", kindSSE},
		{1, "Accept", "application/json, text/event-stream", kindSSE},
		{2, "Accept", "text/event-stream", kindSSE},
		{1, "Upgrade", "WebSocket", kindWebSocket},
		{1, "Upgrade", "h2c", kindHTTP1},
		{2, ":protocol", "websocket", kindWebSocket},
		{2, "Accept", "*/*", kindHTTP2},
	} {
		r := &http.Request{ProtoMajor: c.major, Header: http.Header{c.header: {c.val}}}
		if got := kindOf(r); got != c.want {
			t.Errorf("HTTP/%d, %s: %s: %v, want %v", c.major, c.header, c.val, got, c.want)
		}
	}
	for k := range kinds {
		if k.String() == "" {
			t.Error(fmt.Sprint("kind ", uint8(k), " has no name"))
		}
	}
}
