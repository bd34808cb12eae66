package bench

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/segue-go/segue"
	"github.com/segue-go/segue/bench/internal/sample"
	"github.com/segue-go/segue/bench/internal/subject"
)

// calls is how many requests in a row take one way; short enough that a garbage
// collection or an interrupt spoils one turn and not the median.
const calls = 500

// What net/http calls for a request, without a connection: ConnState(active),
// the handler, ConnState(idle). An iteration is one turn of each. It counts
// everything that the layer does for a request but for its Read and Write, which
// hand on to the connection's; BenchmarkRequest has those.
//
//	added-ns/req      by the layer
//	added-allocs/req  by the layer
func BenchmarkLayer(b *testing.B) {
	for _, test := range []struct {
		name    string
		handler http.Handler
	}{
		{"gin", subject.Router()},
		{"empty", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})},
	} {
		b.Run("handler="+test.name, func(b *testing.B) {
			srv, c := underSegue(b, test.handler)
			bare := newCaller(b, &http.Server{Handler: test.handler}, c)
			layer := newCaller(b, srv, c)
			type times struct{ bare, segue float64 }
			var rounds []times
			var bareAllocs, segueAllocs uint64
			bare.turn()
			layer.turn()
			for b.Loop() {
				var r times
				var n uint64
				if len(rounds)%2 == 0 {
					r.bare, n = bare.turn()
					bareAllocs += n
				}
				r.segue, n = layer.turn()
				segueAllocs += n
				if len(rounds)%2 == 1 {
					r.bare, n = bare.turn()
					bareAllocs += n
				}
				rounds = append(rounds, r)
			}
			noTime(b)
			b.ReportMetric(sample.MedianOf(rounds, func(t times) float64 { return t.bare }), "bare-ns/req")
			b.ReportMetric(sample.MedianOf(rounds, func(t times) float64 { return t.segue }), "segue-ns/req")
			b.ReportMetric(sample.MedianOf(rounds, func(t times) float64 { return t.segue - t.bare }), "added-ns/req")
			// Whole objects per request, as testing counts them: the runtime's own few are not the layer's.
			total := uint64(len(rounds) * calls)
			b.ReportMetric(float64(bareAllocs/total), "bare-allocs/req")
			b.ReportMetric(float64(segueAllocs/total)-float64(bareAllocs/total), "added-allocs/req")
		})
	}
}

// caller does what net/http does with a server for a request on c.
type caller struct {
	srv *http.Server
	c   net.Conn
	r   *http.Request
	w   nowhere
}

// newCaller makes a request whose context has the depth that net/http gives it.
func newCaller(b *testing.B, srv *http.Server, c net.Conn) *caller {
	ctx := context.WithValue(context.Background(), http.ServerContextKey, srv)
	if srv.ConnContext != nil {
		ctx = srv.ConnContext(ctx, c)
	}
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, c.LocalAddr())
	for range 2 { // one of the connection, one of the request
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		b.Cleanup(cancel)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, subject.PathItem, nil)
	if err != nil {
		b.Fatal(err)
	}
	return &caller{srv, c, r, nowhere{http.Header{}}}
}

// turn makes the calls and returns ns per request, and objects allocated by all.
func (c *caller) turn() (ns float64, allocs uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	for range calls {
		if c.srv.ConnState != nil {
			c.srv.ConnState(c.c, http.StateActive)
		}
		c.srv.Handler.ServeHTTP(c.w, c.r)
		if c.srv.ConnState != nil {
			c.srv.ConnState(c.c, http.StateIdle)
		}
	}
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	return float64(took) / calls, after.Mallocs - before.Mallocs
}

// nowhere is a ResponseWriter.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// underSegue serves h under segue.Run and returns the server, as Run has wrapped
// it, and a connection that it has accepted. The connection sends nothing, so
// that nobody but the benchmark moves it from state to state.
func underSegue(b *testing.B, h http.Handler) (*http.Server, net.Conn) {
	accepted := make(chan net.Conn, 1)
	srv := &http.Server{Handler: h, ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		select {
		case accepted <- c:
		default: // the benchmark calls it too
		}
		return ctx
	}}
	addr, ready := make(chan string, 1), make(chan struct{})
	o := segue.Options{NoSignals: true, DrainTimeout: -1, Events: func(e segue.Event) {
		switch e := e.(type) {
		case segue.Listening:
			addr <- e.Addr
		case segue.PhaseChanged:
			if e.To == segue.Ready {
				close(ready)
			}
		}
	}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- segue.Run(ctx, o, func(_ context.Context, app *segue.App) error {
			app.Serve("web", "127.0.0.1:0", srv)
			return nil
		})
	}()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- err
		b.Fatal("the service ended:", err)
	}
	client, err := net.Dial("tcp", <-addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close() })
	return srv, <-accepted
}
