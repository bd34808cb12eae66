package segue

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/testnet"
)

// TestMain runs the tests, or, in a process that a test has started, the
// service that the test wants.
func TestMain(m *testing.M) {
	if name := os.Getenv(envService); name != "" {
		os.Exit(child(name))
	}
	// Handlers whose connection went to another process stay, in a service of its own
	// until its end.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/segue-go/segue/conns.forever"))
}

// envService names the service that this test binary is to be.
const envService = "SEGUE_TEST_SERVICE"

// patience bounds every wait that should never take so long.
const patience = 20 * time.Second

// until waits for a condition that nothing announces.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// receive waits for something that a channel announces.
func receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("never happened: %s", what)
		panic("unreachable")
	}
}

// log of events in their order.
type record struct {
	mu     sync.Mutex
	events []Event
	more   chan struct{} // closed and replaced at each event
}

func newRecord() *record { return &record{more: make(chan struct{})} }

func (r *record) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	close(r.more)
	r.more = make(chan struct{})
}

func (r *record) all() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[:len(r.events):len(r.events)]
}

// awaitEvent returns the first event of type E that ok accepts.
func awaitEvent[E Event](t testing.TB, r *record, ok func(E) bool) E {
	t.Helper()
	late := time.After(patience)
	for seen := 0; ; {
		r.mu.Lock()
		events, more := r.events, r.more
		r.mu.Unlock()
		for ; seen < len(events); seen++ {
			if e, is := events[seen].(E); is && (ok == nil || ok(e)) {
				return e
			}
		}
		select {
		case <-more:
		case <-late:
			var e E
			t.Fatalf("no %T came; what came: %v", e, events)
		}
	}
}

func eventsOf[E Event](r *record) (list []E) {
	for _, e := range r.all() {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

// running is a service in this process.
type running struct {
	*record
	m    *machine
	app  *App
	stop context.CancelFunc
	end  chan error
}

// begin runs a service of which nothing is inherited. Signals are left alone.
func begin(t testing.TB, o Options, setup func(context.Context, *App) error) *running {
	t.Helper()
	return beginWith(t, o, handover.Inheritance{}, setup)
}

func beginWith(t testing.TB, o Options, in handover.Inheritance, setup func(context.Context, *App) error) *running {
	t.Helper()
	r := &running{record: newRecord(), end: make(chan error, 1)}
	o.NoSignals, o.Events = true, r.add
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	r.m = newMachine(o, in, origin{})
	r.app = r.m.app
	over := make(chan struct{})
	go func() {
		defer close(over)
		r.end <- r.m.run(ctx, setup)
	}()
	t.Cleanup(func() {
		cancel()
		r.m.do(func() error { // whatever it waits for, the test is over
			if r.m.force != nil {
				r.m.force(errors.New("the test is over"))
			}
			return nil
		})
		<-over
	})
	return r
}

// ready waits until the service serves.
func (r *running) ready(t testing.TB) *running {
	t.Helper()
	awaitEvent(t, r.record, func(e PhaseChanged) bool { return e.To == Ready })
	return r
}

// addr is where a server listens.
func (r *running) addr(t testing.TB, name string) string {
	t.Helper()
	return awaitEvent(t, r.record, func(e Listening) bool { return e.Server == name }).Addr
}

// ended waits for the end of Run and of the events.
func (r *running) ended(t testing.TB) (Report, error) {
	t.Helper()
	err := receive(t, "Run returns", r.end)
	return awaitEvent[Reported](t, r.record, nil).Report, err
}

// leave stops it and waits for its end, which must be a good one.
func (r *running) leave(t testing.TB) Report {
	t.Helper()
	r.stop()
	report, err := r.ended(t)
	if err != nil {
		t.Fatalf("Run returned %v", err)
	}
	return report
}

// client is a raw HTTP/1 client that never retries anything.
type client struct {
	net.Conn
	in *bufio.Reader
}

func dial(t testing.TB, network, addr string) *client {
	t.Helper()
	c, err := connect(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func connect(network, addr string) (*client, error) {
	nc, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(2 * patience))
	return &client{nc, bufio.NewReader(nc)}, nil
}

// dialOver is a client on a connection that there is.
func dialOver(nc net.Conn) *client { return &client{nc, bufio.NewReader(nc)} }

func (c *client) send(path string) error {
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", path)
	return err
}

func (c *client) receive() (*http.Response, string, error) {
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func (c *client) get(t testing.TB, path string) (*http.Response, string) {
	t.Helper()
	err := c.send(path)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	resp, body, err := c.receive()
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return resp, body
}

// once asks on a connection that is closed then.
func once(t testing.TB, network, addr string) string {
	t.Helper()
	c := dial(t, network, addr)
	defer c.Close()
	_, body := c.get(t, "/")
	return body
}

// closed checks that the server closes the connection without another byte.
func (c *client) closed(t testing.TB) {
	t.Helper()
	if b, err := c.in.ReadByte(); err == nil {
		t.Fatalf("a byte %q came on a connection that should have been closed", b)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection was not closed")
	}
}

func hello(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }

// holder is a handler that keeps requests until they are let go.
type holder struct {
	entered chan *http.Request
	letGo   chan struct{}
	deaf    bool // to the end of the request's context
}

func newHolder(t testing.TB) *holder {
	h := &holder{entered: make(chan *http.Request, 16), letGo: make(chan struct{})}
	t.Cleanup(h.release)
	return h
}

func (h *holder) release() {
	select {
	case <-h.letGo:
	default:
		close(h.letGo)
	}
}

func (h *holder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/hello" {
		hello(w, r)
		return
	}
	h.entered <- r
	ctx := r.Context()
	if h.deaf {
		ctx = context.Background()
	}
	select {
	case <-h.letGo:
		io.WriteString(w, "held")
	case <-ctx.Done():
	}
}

// web is the setup of a service with one server.
func web(h http.Handler) func(context.Context, *App) error {
	return func(_ context.Context, app *App) error {
		app.HTTP("web", "127.0.0.1:0", h)
		return nil
	}
}

var certificate = sync.OnceValue(func() tls.Certificate {
	cert, _, err := testnet.Certificate("test")
	if err != nil {
		panic(err)
	}
	return cert
})

func listenTCP(t testing.TB) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}
