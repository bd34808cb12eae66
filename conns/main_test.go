package conns

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/segue-go/segue/internal/testnet"
)

// TestMain allows for the handlers of connections that have moved: they never
// return.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/segue-go/segue/conns.forever"))
}

// patience bounds every wait of a test that should never take so long.
const patience = 10 * time.Second

// until waits for a condition that nothing announces.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func budget(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func dial(t testing.TB, addr net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// serve serves srv on a gate until the test ends, with everything joined.
func serve(t testing.TB, srv *http.Server, ln net.Listener) (*HTTP, *Gate) {
	t.Helper()
	return serveWith(t, srv, ln, func(*HTTP) {})
}

// serveWith is serve with something to be set before.
func serveWith(t testing.TB, srv *http.Server, ln net.Listener, set func(*HTTP)) (*HTTP, *Gate) {
	t.Helper()
	if srv.ErrorLog == nil {
		srv.ErrorLog = log.New(io.Discard, "", 0)
	}
	h, g := NewHTTP(srv), NewGate(ln)
	set(h)
	done := make(chan error, 1)
	go func() { done <- h.Serve(g) }()
	t.Cleanup(func() {
		h.Cut()
		if err := h.Shutdown(budget(t, patience)); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		h.Cut() // accepted between the first Cut and Shutdown
		if err := h.Wait(budget(t, patience)); err != nil {
			t.Errorf("after Cut, handlers go on: %v\n%s", err, strings.Join(Stacks(), "\n\n"))
		}
	})
	return h, g
}

// hello is a handler that reads all and says hello.
func hello(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	io.WriteString(w, "hello")
}

// client is a raw HTTP/1 client that never retries anything.
type client struct {
	net.Conn
	in *bufio.Reader
}

func newClient(t testing.TB, addr net.Addr) *client {
	c := dial(t, addr)
	return &client{c, bufio.NewReader(c)}
}

// ask sends a whole request and reads the whole response.
func (c *client) ask(request string) (*http.Response, string, error) {
	if _, err := io.WriteString(c, request); err != nil {
		return nil, "", err
	}
	return c.answer()
}

func (c *client) answer() (*http.Response, string, error) {
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// get asks for a path and fails the test unless the answer is whole.
func (c *client) get(t testing.TB, path string) *http.Response {
	t.Helper()
	resp, _, err := c.ask("GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n")
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return resp
}

var certificate = sync.OnceValue(func() tls.Certificate {
	cert, _, err := testnet.Certificate("test")
	if err != nil {
		panic(err)
	}
	return cert
})
