package verify

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segue-go/segue/internal/testnet"
)

// faulty is a service that fails every nth request in a known way.
type faulty struct {
	*Handler
	every int64
	fail  func(f *faulty, w http.ResponseWriter, r *http.Request)
	seen  atomic.Int64
	hits  atomic.Int64
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.seen.Add(1)%f.every != 0 {
		f.Handler.ServeHTTP(w, r)
		return
	}
	f.hits.Add(1)
	f.fail(f, w, r)
}

// hijack takes the connection away from the server.
func hijack(w http.ResponseWriter) net.Conn {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	return c
}

func reset(w http.ResponseWriter) {
	c := hijack(w)
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func (f *faulty) record(r *http.Request) {
	if err := f.Applied.Record(r.Header.Get(IDHeader)); err != nil {
		panic(err)
	}
}

// get is a request whose loss needs no body to be read first.
func get(r *Request) Exchange {
	return Exchange{Path: "/echo?n=500", Check: wantBody(Pattern(r.ID, 500))}
}

func TestFaultsAreFoundAndCounted(t *testing.T) {
	type verdict struct{ lost, twice, phantom, missing bool }
	for _, tt := range []struct {
		name  string
		fail  func(f *faulty, w http.ResponseWriter, r *http.Request)
		cause Cause
		want  verdict
	}{
		{"resets before applying", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			reset(w)
		}, Reset, verdict{lost: true}},
		{"resets after applying", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			f.record(r)
			reset(w)
		}, Reset, verdict{lost: true, phantom: true}},
		{"closes instead of answering", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			hijack(w).Close()
		}, EOF, verdict{lost: true}},
		{"applies twice", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			f.record(r)
			f.Handler.ServeHTTP(w, r)
		}, "", verdict{twice: true}},
		{"does not apply", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			(&Handler{}).ServeHTTP(w, r)
		}, "", verdict{missing: true}},
		{"truncates", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			f.record(r)
			w.Header().Set("Content-Length", "500")
			w.Write(make([]byte, 200))
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, Truncated, verdict{lost: true, phantom: true}},
		{"truncates chunks", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			w.Write(make([]byte, 200))
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, Truncated, verdict{lost: true}},
		{"resets within the answer", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			c := hijack(w)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}, Truncated, verdict{lost: true}},
		{"answers with another id", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			w.Header().Set(IDHeader, "somebody-else")
			w.Write(Pattern(r.Header.Get(IDHeader), 500))
		}, Wrong, verdict{lost: true}},
		{"answers with another body", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			w.Header().Set(IDHeader, r.Header.Get(IDHeader))
			w.Write(Pattern("somebody-else", 500))
		}, Wrong, verdict{lost: true}},
		{"answers 503", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			http.Error(w, "leaving", http.StatusServiceUnavailable)
		}, Server, verdict{lost: true}},
		{"answers 404", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			http.NotFound(w, r)
		}, Status, verdict{lost: true}},
		{"talks nonsense", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			c := hijack(w)
			io.WriteString(c, "220 mail.example.org ESMTP\r\n")
			c.Close()
		}, Malformed, verdict{lost: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, path := applied(t)
			f := &faulty{Handler: &Handler{Applied: a}, every: 20, fail: tt.fail}
			target := service(t, &http.Server{Handler: f}, "")
			res := drive(t, Options{Target: target, Loads: []Load{
				{Kind: HTTP1{Label: "keep-alive", Exchange: get}, Workers: 3},
				{Kind: HTTP1{Label: "one-shot", Exchange: get, Fresh: true}, Workers: 2},
			}}, path, EachSent(100, nil))
			hits := int(f.hits.Load())
			expect := func(what string, got int, hit bool) {
				t.Helper()
				if want := map[bool]int{true: hits}[hit]; got != want {
					t.Errorf("%s: %d found, %d happened\n%v", what, got, want, res.Err())
				}
			}
			if hits == 0 {
				t.Fatal("the service has not failed once")
			}
			expect("lost", res.Total.Lost, tt.want.lost)
			expect("lost as "+string(tt.cause), res.Total.Causes[tt.cause], tt.want.lost)
			expect("applied twice", res.Service.Twice, tt.want.twice)
			expect("applied but the client saw an error", res.Service.Phantom, tt.want.phantom)
			expect("acknowledged but not applied", res.Service.Missing, tt.want.missing)
			if res.Err() == nil {
				t.Error("Err is nil")
			}
			if tt.want.lost && len(res.Kinds[0].Examples) == 0 && len(res.Kinds[1].Examples) == 0 {
				t.Error("no example is given")
			}
			for _, k := range res.Kinds {
				for _, e := range k.Examples {
					if e.Local == "" || e.Cause != tt.cause || e.At.Before(e.Sent) {
						t.Errorf("example %+v", e)
					}
				}
			}
		})
	}
}

// The loss that makes restarts hard: the server closes an idle connection
// without having announced it, under the client's next request.
func TestUnannouncedCloseIsALoss(t *testing.T) {
	for _, how := range []string{"loopback", "delayed"} {
		t.Run(how, func(t *testing.T) {
			const worker, after = 4, 10
			var closed atomic.Int64
			h := &Handler{}
			target := service(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				id, _ := parseIdent(r.Header.Get(IDHeader))
				if id.seq != after && id.seq != 2*after {
					h.ServeHTTP(w, r)
					return
				}
				closed.Add(1)
				c := hijack(w)
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n"+IDHeader+": "+id.String()+"\r\n\r\n")
				c.Write(Pattern(id.String(), 500))
				c.Close()
			})}, "")
			if how == "delayed" {
				target = delayed(t, target)
			}
			// Every worker gets beyond its second closed connection.
			res := drive(t, Options{Target: target, Loads: []Load{{Kind: HTTP1{Label: "keep-alive", Exchange: get}, Workers: worker}}},
				"", EachSent(worker*3*after*4, nil))
			if res.Total.Lost != 2*worker || closed.Load() != 2*worker {
				t.Errorf("%d lost after %d unannounced closes, want %d", res.Total.Lost, closed.Load(), 2*worker)
			}
			if n := res.Total.Causes[EOF] + res.Total.Causes[Reset]; n != res.Total.Lost {
				t.Errorf("causes %v", res.Total.Causes)
			}
			if res.Total.Unasked != 2*worker || res.Total.Asked != 0 {
				t.Errorf("reconnects: %d not asked for, %d asked for", res.Total.Unasked, res.Total.Asked)
			}
		})
	}
}

func TestAnnouncedCloseIsHonoured(t *testing.T) {
	var announced atomic.Int64
	h := &Handler{}
	target := service(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, _ := parseIdent(r.Header.Get(IDHeader)); id.seq == 5 {
			announced.Add(1)
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})}, "")
	res := drive(t, Options{Target: delayed(t, target), Loads: []Load{{Kind: KeepAlive(), Workers: 3}}}, "", func(c map[string]Counts) bool {
		return announced.Load() == 3 && EachSent(100, nil)(c)
	})
	if err := res.Err(); err != nil {
		t.Error(err)
	}
	if res.Total.Asked != 3 || res.Total.Unasked != 0 || res.Total.Connects != 6 {
		t.Errorf("connections %d, asked for %d, not asked for %d", res.Total.Connects, res.Total.Asked, res.Total.Unasked)
	}
}

// An answer that comes while the body is still being sent is what a client
// goes by, not the write that failed.
func TestEarlyAnswerToAnUpload(t *testing.T) {
	target := service(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := hijack(w)
		io.WriteString(c, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		c.Close()
	})}, "")
	res := drive(t, Options{Target: target, Loads: []Load{{Kind: Upload(50 * time.Millisecond)}}}, "", EachSent(3, nil))
	if res.Total.Lost != res.Total.Sent || res.Total.Causes[Server] != res.Total.Sent {
		t.Errorf("causes %v of %d", res.Total.Causes, res.Total.Sent)
	}
}

func TestTimeoutRefusedAborted(t *testing.T) {
	blocked := func(t *testing.T) Target {
		return service(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // the server notices a client that leaves only after that
			<-r.Context().Done()
		})}, "")
	}
	loads := []Load{{Kind: KeepAlive(), Workers: 2}}
	t.Run("timeout", func(t *testing.T) {
		res := drive(t, Options{Target: blocked(t), Loads: loads, Timeout: 50 * time.Millisecond}, "", EachSent(4, nil))
		if res.Total.Causes[Timeout] != res.Total.Sent {
			t.Errorf("causes %v of %d", res.Total.Causes, res.Total.Sent)
		}
	})
	t.Run("refused", func(t *testing.T) {
		for _, addr := range []string{"127.0.0.1:1", "unix:/nowhere/at/all"} {
			res := drive(t, Options{Target: Target{Addr: addr}, Loads: []Load{{Kind: OneShot(), Rate: 100}}}, "", EachSent(3, nil))
			if res.Total.Causes[Refused] != res.Total.Sent {
				t.Errorf("%s: causes %v of %d", addr, res.Total.Causes, res.Total.Sent)
			}
		}
	})
	t.Run("aborted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := Start(ctx, Options{Target: blocked(t), Loads: loads})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Await(t.Context(), func(c map[string]Counts) bool { return c["keep-alive"].InFlight == 2 }); err != nil {
			t.Fatal(err)
		}
		cancel()
		if res := r.Stop(); res.Total.Sent != 2 || res.Total.Causes[Aborted] != 2 {
			t.Errorf("causes %v of %d", res.Total.Causes, res.Total.Sent)
		}
	})
}

func TestConnectionsOfAFailedDialAreRetriedByNobody(t *testing.T) {
	var n atomic.Int64
	target := service(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		reset(w)
	})}, "")
	res := drive(t, Options{Target: target, Loads: []Load{{Kind: KeepAlive()}, {Kind: OneShot()}}}, "", EachSent(50, nil))
	if got := int(n.Load()); got != res.Total.Sent || res.Total.Lost != res.Total.Sent {
		t.Errorf("the service has seen %s requests, %d were sent, %d lost", strconv.Itoa(got), res.Total.Sent, res.Total.Lost)
	}
}

// What net/http does when asked to leave is the loss everybody else has:
// golang/go#23829, #36819. Each connection to the old server either hears of it
// or costs a request.
func TestShutdownOfNetHTTPLosesRequests(t *testing.T) {
	const workers = 24
	h := &Handler{}
	old := &http.Server{Handler: h}
	first := service(t, old, "")
	second := service(t, &http.Server{Handler: h}, "")
	p, err := testnet.Start(testnet.Options{OneWay: 5 * time.Millisecond, Target: first.Addr})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r, err := Start(t.Context(), Options{Target: Target{Addr: p.Addr()}, Seed: 1,
		Loads: []Load{{Kind: Idle(), Workers: workers, Rate: 5 * workers}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := r.Await(ctx, EachSent(2*workers, nil)); err != nil {
		t.Error(err)
	}
	p.SetTarget(second.Addr)
	if err := old.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := r.Await(ctx, EachSent(4*workers, r.Counts())); err != nil {
		t.Error(err)
	}
	res := r.Stop()
	if res.Total.Lost == 0 || res.Total.Lost != res.Total.Unasked || res.Total.Asked+res.Total.Unasked != workers {
		t.Errorf("%d lost (%v), %d+%d reconnects of %d connections", res.Total.Lost, res.Total.Causes, res.Total.Asked, res.Total.Unasked, workers)
	}
	t.Logf("%d of %d connections lost a request: %v", res.Total.Lost, workers, res.Total.Causes)
}
