package shop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/segue-go/segue/examples/shop/internal/config"
	"github.com/segue-go/segue/examples/shop/internal/shop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// generation is one running shop, without segue around it: the test says when
// it leaves.
type generation struct {
	*httptest.Server
	t     *testing.T
	leave func() // closes the channel that asks streams to end
	log   *bytes.Buffer
}

type option func(*config.Config, *shop.Host)

func start(t *testing.T, dir string, options ...option) *generation {
	t.Helper()
	cfg := config.Config{DataDir: dir, Version: "test", ReportTime: 20 * time.Millisecond, MaxUpload: 1 << 20, KeepUploads: true}
	leaving := make(chan struct{})
	host := shop.Host{
		Ready:   func(context.Context) error { return nil },
		Leaving: func(context.Context) <-chan struct{} { return leaving },
	}
	for _, o := range options {
		o(&cfg, &host)
	}
	log := &bytes.Buffer{}
	s, err := shop.Open(t.Context(), cfg, host, slog.New(slog.NewTextHandler(&locked{w: log}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	g := &generation{Server: httptest.NewServer(s.Handler), t: t, log: log, leave: sync.OnceFunc(func() { close(leaving) })}
	ctx, stop := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	for _, f := range []func(context.Context) error{s.Orders.Follow, s.Chat.Follow, s.Relay.Run} {
		tasks.Go(func() {
			if err := f(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		g.leave()
		g.Close()
		stop()
		tasks.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// do sends a request and returns the answer with its body read.
func (g *generation) do(method, path, body string, headers ...string) (*http.Response, string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.URL+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := g.Client().Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return res, string(data)
}

// order places an order under a request id and returns its id.
func (g *generation) order(requestID string) int64 {
	g.t.Helper()
	res, body := g.do("POST", "/api/orders", `{"product_id":1,"quantity":1}`, "X-Request-Id", requestID)
	var o struct{ ID int64 }
	if err := json.Unmarshal([]byte(body), &o); err != nil || res.StatusCode != http.StatusCreated {
		g.t.Fatalf("order: %s %s", res.Status, body)
	}
	return o.ID
}

func TestAnswers(t *testing.T) {
	g := start(t, t.TempDir())
	for _, tc := range []struct {
		method, path, body string
		status             int
		want               string // a part of the answer
	}{
		{"GET", "/healthz", "", 200, `"ok"`},
		{"GET", "/readyz", "", 200, `"ready"`},
		{"GET", "/version", "", 200, `"version":"test"`},
		{"GET", "/api/products", "", 200, `"sku":"tea-oolong"`},
		{"GET", "/api/products?after=2&limit=1", "", 200, `{"products":[{"id":3,`},
		{"GET", "/api/orders", "", 200, `{"orders":[]}`},
		{"POST", "/api/products", `{"sku":"pot","name":"Pot","price_cents":5}`, 201, `{"id":4,"sku":"pot"`},
		{"POST", "/api/products", `{"sku":"pot","name":"Pot","price_cents":5}`, 409, `"error":"conflict"`},
		{"POST", "/api/products", `{"sku":"","name":"Pot"}`, 400, "sku must have"},
		{"POST", "/api/products", `{"sku":"a","name":" "}`, 400, "name must have"},
		{"POST", "/api/products", `{"sku":"a","name":"a","price_cents":-1}`, 400, "price_cents must be"},
		{"POST", "/api/orders", `{"product_id":4,"quantity":3}`, 201, `"total_cents":15`},
		{"GET", "/api/orders/1", "", 200, `"total_cents":15`},
		{"GET", "/api/orders/2", "", 404, "there is no order 2"},
		{"GET", "/api/orders/x", "", 404, `"error":"not_found"`},
		{"POST", "/api/orders", `{"product_id":99,"quantity":1}`, 404, "there is no product 99"},
		{"POST", "/api/orders", `{"product_id":1,"quantity":0}`, 400, "quantity must be"},
		{"POST", "/api/orders", `{"product_id":1,"quantity":1,"price":0}`, 400, "unknown field"},
		{"POST", "/api/orders", `{"product_id":1,"quantity":1} {}`, 400, "more than one value"},
		{"POST", "/api/orders", `{"product_id":`, 400, "ended before"},
		{"POST", "/api/orders", ``, 400, "the body is empty"},
		{"POST", "/api/orders", `{"product_id":"` + strings.Repeat("x", 2<<20), 413, `"error":"too_large"`},
		{"GET", "/api/report", "", 200, `"revenue_cents":15`},
		{"GET", "/api/report?ms=0", "", 200, `"orders":1`},
		{"GET", "/api/report?ms=600000", "", 400, "ms must be a number between 0 and 60000"},
		{"GET", "/api/orders?limit=0", "", 400, "limit must be"},
		{"GET", "/api/orders?after=-1", "", 400, "after must be"},
		{"GET", "/api/ledger/never-seen", "", 200, `"count":0`},
		{"GET", "/nowhere", "", 404, "nothing at /nowhere"},
		{"DELETE", "/api/orders", "", 405, "DELETE is not possible at /api/orders"},
	} {
		res, body := g.do(tc.method, tc.path, tc.body)
		if res.StatusCode != tc.status || !strings.Contains(body, tc.want) {
			t.Errorf("%s %s %.40s: %d %.200s, want %d with %s", tc.method, tc.path, tc.body, res.StatusCode, body, tc.status, tc.want)
		}
		if res.Header.Get("X-Request-Id") == "" || res.Header.Get("X-Served-By") == "" {
			t.Errorf("%s %s: X-Request-Id or X-Served-By is missing", tc.method, tc.path)
		}
	}
}

func TestLedgerCountsWhatWasApplied(t *testing.T) {
	dir := t.TempDir()
	old, young := start(t, dir), start(t, dir)
	old.order("req-1")
	young.order("req-2")
	young.order("req-2") // counted, not suppressed: this is a measuring instrument
	if res, _ := old.do("POST", "/api/orders", `{"product_id":99,"quantity":1}`, "X-Request-Id", "req-3"); res.StatusCode != 404 {
		t.Errorf("order of a product that does not exist: %s", res.Status)
	}
	old.do("POST", "/api/products", `{"sku":"x","name":"x"}`, "X-Request-Id", "req-4")
	old.do("POST", "/api/upload", "file", "X-Request-Id", "req-5")
	old.do("GET", "/api/products", "", "X-Request-Id", "req-6")
	old.do("POST", "/api/orders", `{"product_id":1,"quantity":1}`) // a made-up id is nobody's
	const want = `{"entries":[{"id":"req-1","count":1},{"id":"req-2","count":2},{"id":"req-4","count":1},{"id":"req-5","count":1}]}`
	if _, body := young.do("GET", "/api/ledger?prefix=req-", ""); body != want {
		t.Errorf("%s, want %s", body, want)
	}
	if _, body := young.do("GET", "/api/ledger", ""); body != want {
		t.Errorf("%s, want %s", body, want)
	}
	if _, body := young.do("GET", "/api/ledger?limit=2", ""); !strings.Contains(body, `"next":"req-2"`) {
		t.Errorf("no next page in %s", body)
	}
	if _, body := old.do("GET", "/api/ledger/req-2", ""); body != `{"id":"req-2","count":2}` {
		t.Error(body)
	}
	for _, id := range []string{"a b", "a/b", strings.Repeat("x", 200), "é"} {
		if res, body := old.do("POST", "/api/orders", `{"product_id":1,"quantity":1}`, "X-Request-Id", id); res.StatusCode != 400 {
			t.Errorf("id %.20q: %s %s", id, res.Status, body)
		}
	}
}

func TestNotReady(t *testing.T) {
	sick := func(_ *config.Config, h *shop.Host) {
		h.Ready = func(context.Context) error { return errors.New("no database") }
	}
	g := start(t, t.TempDir(), sick)
	res, body := g.do("GET", "/readyz", "")
	if res.StatusCode != 503 || !strings.Contains(body, "no database") || res.Header.Get("Retry-After") == "" {
		t.Errorf("%s %s", res.Status, body)
	}
	if res, _ := g.do("GET", "/healthz", ""); res.StatusCode != 200 {
		t.Errorf("health depends on readiness: %s", res.Status)
	}
}

func TestNotReadyWhenLeaving(t *testing.T) {
	g := start(t, t.TempDir())
	g.leave()
	if res, body := g.do("GET", "/readyz", ""); res.StatusCode != 503 || !strings.Contains(body, "leaving") {
		t.Errorf("%s %s", res.Status, body)
	}
	g.order("still-served")
}

// The relays of two generations run after one another; here only one has one.
func TestEveryOrderLeavesTheOutboxOnce(t *testing.T) {
	g := start(t, t.TempDir())
	for i := range 20 {
		g.order("o-" + string(rune('a'+i)))
	}
	var d struct{ Pending, Delivered int }
	deadline := time.After(30 * time.Second)
	for {
		_, body := g.do("GET", "/api/deliveries", "")
		if err := json.Unmarshal([]byte(body), &d); err != nil {
			t.Fatal(err)
		}
		if d.Delivered == 20 && d.Pending == 0 && strings.Contains(body, `"twice":[]`) {
			return
		}
		select {
		case <-deadline:
			t.Fatal(body)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
