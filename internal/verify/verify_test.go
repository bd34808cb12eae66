package verify

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/segue-go/segue/internal/testnet"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(recorder); path != "" {
		runRecorder(path)
	}
	goleak.VerifyTestMain(m)
}

// service runs srv on a fresh address and is closed with the test.
func service(t *testing.T, srv *http.Server, addr string) Target {
	t.Helper()
	network, address := "tcp", "127.0.0.1:0"
	if addr != "" {
		network, address = "unix", addr
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if srv.TLSConfig != nil {
			srv.ServeTLS(ln, "", "")
		} else {
			srv.Serve(ln)
		}
	}()
	t.Cleanup(func() { srv.Close(); <-done })
	if addr != "" {
		return Target{Addr: "unix:" + addr}
	}
	return Target{Addr: ln.Addr().String()}
}

// applied is a service's ledger and its path.
func applied(t *testing.T) (*Applied, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "applied")
	a, err := OpenApplied(path, "1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a, path
}

// delayed puts a round trip of 10 ms before a target.
func delayed(t *testing.T, to Target) Target {
	t.Helper()
	p, err := testnet.Start(testnet.Options{OneWay: 5 * time.Millisecond, Target: to.Addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	to.Addr = p.Addr()
	return to
}

// drive runs until enough is true and compares the ledgers.
func drive(t *testing.T, o Options, path string, enough func(map[string]Counts) bool) Result {
	t.Helper()
	if o.Seed == 0 {
		o.Seed = 1
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	r, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := r.Await(ctx, enough); err != nil {
		t.Errorf("not enough traffic within a minute: %v", r.Counts())
	}
	res := r.Stop()
	if path != "" {
		if res.Service, err = r.Compare(path); err != nil {
			t.Fatal(err)
		}
	}
	return res
}

// plain is every kind over HTTP/1.1, small enough to share a processor.
func plain() []Load {
	return []Load{
		{Kind: KeepAlive(), Workers: 4, Rate: 300},
		{Kind: Idle(), Workers: 8, Rate: 20},
		{Kind: OneShot(), Workers: 2, Rate: 100},
		{Kind: Slow(200 * time.Millisecond), Workers: 2},
		{Kind: Upload(200 * time.Millisecond), Workers: 2},
		{Kind: Chunked(200 * time.Millisecond), Workers: 2},
	}
}

func perfect(t *testing.T, res Result) {
	t.Helper()
	if err := res.Err(); err != nil {
		t.Errorf("a perfect service is accused (seed %d):\n%v", res.Seed, err)
	}
	for _, k := range res.Kinds {
		if k.Sent != k.OK || k.InFlight != 0 || k.Unasked != 0 || k.Asked != 0 {
			t.Errorf("%s: sent %d, ok %d, in flight %d, reconnects %d+%d", k.Kind, k.Sent, k.OK, k.InFlight, k.Asked, k.Unasked)
		}
	}
}

func TestPerfectService(t *testing.T) {
	for _, how := range []string{"loopback", "delayed", "unix"} {
		t.Run(how, func(t *testing.T) {
			a, path := applied(t)
			addr := ""
			if how == "unix" {
				addr = filepath.Join(t.TempDir(), "s")
			}
			target := service(t, &http.Server{Handler: &Handler{Applied: a}}, addr)
			if how == "delayed" {
				target = delayed(t, target)
			}
			res := drive(t, Options{Target: target, Loads: plain()}, path, EachSent(5, nil))
			perfect(t, res)
			if got := res.Total.Sent; res.Service.Applied != got {
				t.Errorf("%d applied, %d sent", res.Service.Applied, got)
			}
			if how == "delayed" && res.Total.Steady.P50 < 10*time.Millisecond {
				t.Errorf("median latency %v through a round trip of 10 ms", res.Total.Steady.P50)
			}
		})
	}
}

// One run over everything at once, as a restart test has it.
func TestMixOverSeveralTargets(t *testing.T) {
	a, path := applied(t)
	h := &Handler{Applied: a}
	_, plainTarget := h2service(t, h, false)
	_, secure := h2service(t, h, true)
	unix := service(t, &http.Server{Handler: h}, filepath.Join(t.TempDir(), "s"))
	const long = 300 * time.Millisecond
	loads := Mix(long)
	loads = append(loads, MixHTTP2("h2c", long)...)
	loads = append(loads, At(secure, "tls-", MixHTTP2("h2", long)[:1])...)
	loads = append(loads, At(unix, "unix-", Mix(long)[:3])...)
	loads = append(loads, At(delayed(t, plainTarget), "far-", Mix(long)[:3])...)
	res := drive(t, Options{Target: plainTarget, Loads: loads}, path, EachSent(3, nil))
	perfect(t, res)
	if len(res.Kinds) != 18 {
		t.Errorf("%d kinds", len(res.Kinds))
	}
}
