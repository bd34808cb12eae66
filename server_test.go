package segue

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/handover"
)

// unixPath is short: sockaddr_un has room for 107 bytes.
func unixPath(t testing.TB) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("unix sockets")
	}
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "web.sock")
}

func unixWeb(path string) func(context.Context, *App) error {
	return func(_ context.Context, app *App) error {
		app.HTTP("web", "unix:"+path, http.HandlerFunc(hello))
		return nil
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestUnixSocketRemoved(t *testing.T) {
	path := unixPath(t)
	s := begin(t, Options{}, unixWeb(path)).ready(t)
	c := dial(t, "unix", path)
	if _, body := c.get(t, "/"); body != "hello" {
		t.Errorf("it answered %q", body)
	}
	c.Close()
	s.leave(t)
	if exists(path) {
		t.Error("the socket is still there")
	}
}

func TestUnixSocketStaleReplaced(t *testing.T) {
	path := unixPath(t)
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	begin(t, Options{}, unixWeb(path)).ready(t)
	if _, body := dial(t, "unix", path).get(t, "/"); body != "hello" {
		t.Errorf("it answered %q", body)
	}
}

func TestUnixSocketInUseRefused(t *testing.T) {
	path := unixPath(t)
	begin(t, Options{}, unixWeb(path)).ready(t)
	second := begin(t, Options{}, unixWeb(path))
	if _, err := second.ended(t); err == nil || !strings.Contains(err.Error(), "it is in use") {
		t.Errorf("the second one says %v", err)
	}
	if _, body := dial(t, "unix", path).get(t, "/"); body != "hello" {
		t.Error("the first one was harmed")
	}
}

// TestUnixSocketOfOthersStays: a supervisor's socket, and that of a predecessor
// which may still take the service back, are not this process's to remove.
func TestUnixSocketOfOthersStays(t *testing.T) {
	for _, predecessor := range []int{0, os.Getppid()} {
		path := unixPath(t)
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ln.SetUnlinkOnClose(false)
		f, err := ln.File()
		if err != nil {
			t.Fatal(err)
		}
		in := handover.Inheritance{Sockets: []handover.Socket{{Name: "web", File: f}}, Predecessor: predecessor}
		beginWith(t, Options{}, in, unixWeb("/not/used")).ready(t).leave(t)
		if !exists(path) {
			t.Errorf("predecessor %d: the socket was removed", predecessor)
		}
		ln.Close()
	}
}

// TestUsersServer: an *http.Server keeps everything its maker has set.
func TestUsersServer(t *testing.T) {
	var states sync.Map
	type key struct{}
	srv := &http.Server{
		ReadHeaderTimeout: 500 * time.Millisecond,
		ConnState:         func(_ net.Conn, s http.ConnState) { states.Store(s, true) },
		ConnContext:       func(ctx context.Context, _ net.Conn) context.Context { return context.WithValue(ctx, key{}, "mine") },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v, _ := r.Context().Value(key{}).(string)
			io.WriteString(w, v)
		}),
	}
	s := begin(t, Options{}, func(_ context.Context, app *App) error {
		app.Serve("web", "127.0.0.1:0", srv)
		return nil
	}).ready(t)
	if _, body := dial(t, "tcp", s.addr(t, "web")).get(t, "/"); body != "mine" {
		t.Errorf("the user's ConnContext: %q", body)
	}
	slow := dial(t, "tcp", s.addr(t, "web"))
	io.WriteString(slow, "GET / HTTP/1.1\r\n")
	slow.closed(t) // by the user's ReadHeaderTimeout
	for _, state := range []http.ConnState{http.StateNew, http.StateActive, http.StateIdle, http.StateClosed} {
		until(t, "ConnState "+state.String(), func() bool { _, ok := states.Load(state); return ok })
	}
}

// TestHTTP2 leaves under load, over TLS and in clear text: no request of a client
// that honours GOAWAY is lost. That is: each one is answered with 200, or with a
// clear 503 once the service leaves for good, or was not begun.
func TestHTTP2(t *testing.T) {
	for _, clear := range []bool{false, true} {
		name := map[bool]string{false: "tls", true: "h2c"}[clear]
		t.Run(name, func(t *testing.T) {
			h := newHolder(t)
			srv := &http.Server{Handler: h}
			tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols)}
			scheme := "https"
			if clear {
				scheme = "http"
				srv.Protocols = new(http.Protocols)
				srv.Protocols.SetUnencryptedHTTP2(true)
				srv.Protocols.SetHTTP1(true)
				tr.Protocols.SetUnencryptedHTTP2(true)
			} else {
				srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate()}}
				tr.Protocols.SetHTTP2(true)
			}
			defer tr.CloseIdleConnections()
			s := begin(t, Options{}, func(_ context.Context, app *App) error {
				app.Serve("web", "127.0.0.1:0", srv)
				return nil
			}).ready(t)
			hc := &http.Client{Transport: tr, Timeout: patience}
			url := scheme + "://" + s.addr(t, "web")

			type answer struct {
				body  string
				proto int
				err   error
			}
			ask := func(path string) answer {
				resp, err := hc.Get(url + path)
				if err != nil {
					return answer{err: err}
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				return answer{string(body), resp.ProtoMajor, err}
			}
			if a := ask("/hello"); a.err != nil || a.proto != 2 || a.body != "hello" {
				t.Fatalf("%+v", a)
			}
			held := make(chan answer, 1)
			go func() { held <- ask("/slow") }()
			receive(t, "the stream is open", h.entered)
			s.stop()
			s.draining(t)
			h.release()
			if a := receive(t, "the stream ends", held); a.err != nil || a.body != "held" {
				t.Errorf("the stream in flight: %+v", a)
			}
			report, err := s.ended(t)
			if err != nil || len(report.Cut) != 0 || report.InFlight != 1 || report.Finished != 1 {
				t.Errorf("%v, %+v", err, report)
			}
		})
	}
}

// TestServeTLS: ListenAndServeTLS's kind of server, by certificate.
func TestHTTPSServesHTTP1Too(t *testing.T) {
	s := begin(t, Options{}, func(_ context.Context, app *App) error {
		app.Serve("web", "127.0.0.1:0", &http.Server{Handler: http.HandlerFunc(hello),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate()}}})
		return nil
	}).ready(t)
	c := dial(t, "tcp", s.addr(t, "web"))
	tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	secure := dialOver(tc)
	if _, body := secure.get(t, "/"); body != "hello" {
		t.Errorf("it answered %q", body)
	}
}

// TestOneSocketByAnyName: ListenAndServe takes the one called web, else the only one.
func TestOneSocketByAnyName(t *testing.T) {
	socket := func(name string) (handover.Socket, string) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		return handover.Socket{Name: name, File: f}, ln.Addr().String()
	}
	for _, names := range [][]string{{"unknown"}, {"web"}, {"admin", "web"}} {
		var in handover.Inheritance
		var last string
		for _, name := range names {
			s, addr := socket(name)
			in.Sockets, last = append(in.Sockets, s), addr
		}
		s := &server{name: anySocket, addr: "127.0.0.1:0", any: true, impl: &http.Server{}}
		if err := s.bind(&in, func(err error) { t.Error(err) }); err != nil {
			t.Fatal(err)
		}
		if got := s.ln.Addr().String(); got != last {
			t.Errorf("of %v it took %s, want %s", names, got, last)
		}
		s.gate.Close()
		for _, left := range in.Sockets {
			left.File.Close()
		}
	}
}

// TestManyRequestsNobodyLost: every answer is whole, also when the service leaves
// in the middle of many.
func TestManyRequestsNobodyLost(t *testing.T) {
	s := begin(t, Options{IdleTimeout: time.Second}, web(http.HandlerFunc(hello))).ready(t)
	addr := s.addr(t, "web")
	var crowd sync.WaitGroup
	var served, refused atomic.Int32
	for range 8 {
		crowd.Go(func() {
			c, err := connect("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for {
				if err := c.send("/"); err != nil {
					t.Errorf("lost: %v", err)
					return
				}
				resp, body, err := c.receive()
				switch {
				case err != nil:
					t.Errorf("lost: %v", err)
					return
				case resp.StatusCode == 200 && body == "hello":
					served.Add(1)
				case resp.StatusCode == 503 && resp.Close && resp.Header.Get("Retry-After") != "":
					refused.Add(1)
					return
				default:
					t.Errorf("%d %q", resp.StatusCode, body)
					return
				}
			}
		})
	}
	until(t, "all are at work", func() bool { return served.Load() > 200 })
	report := s.leave(t)
	crowd.Wait()
	if refused.Load() != 8 || len(report.Cut) != 0 {
		t.Errorf("%d of 8 were refused; cut %v", refused.Load(), report.Cut)
	}
}

// TestAcceptErrorsAreTold: a service that cannot accept says so.
func TestAcceptErrorsAreTold(t *testing.T) {
	var told []error
	s := &server{name: "web", addr: "127.0.0.1:0", impl: &http.Server{}}
	if err := s.bind(&handover.Inheritance{}, func(err error) { told = append(told, err) }); err != nil {
		t.Fatal(err)
	}
	defer s.gate.Close()
	s.gate.OnError(syscall.EMFILE)
	if len(told) != 1 || !errors.Is(told[0], syscall.EMFILE) || !strings.Contains(told[0].Error(), `"web"`) {
		t.Errorf("told %v", told)
	}
}

// TestLimits reach the connection layer of every server.
func TestLimits(t *testing.T) {
	s := begin(t, Options{Limits: conns.Limits{Max: 1}}, web(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))).ready(t)
	stream := func() *http.Response {
		c := dial(t, "tcp", s.addr(t, "web"))
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n")
		resp, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if first, second := stream(), stream(); first.StatusCode != 200 || second.StatusCode != 503 {
		t.Errorf("two streams were answered %d and %d, want one refused", first.StatusCode, second.StatusCode)
	}
}
