package raw_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/segue-go/segue/bench/internal/raw"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers requests after the first n as late says.
func serve(t *testing.T, n int64, late http.HandlerFunc) (addr string, served *atomic.Int64) {
	served = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1) > n {
			late(w, r)
			return
		}
		w.Write([]byte("ok"))
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), served
}

func TestRequests(t *testing.T) {
	addr, served := serve(t, 1<<30, nil)
	l, err := raw.Dial(addr, "/", 40)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before := served.Load()
	if _, err := l.Requests(1000); err != nil {
		t.Fatal(err)
	}
	if got := served.Load() - before; got != 1000 {
		t.Errorf("%d requests were served, want 1000", got)
	}
}

// A server that fails must not look fast.
func TestFailures(t *testing.T) {
	for name, late := range map[string]http.HandlerFunc{
		"status": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) },
		"close":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := serve(t, 100, late)
			l, err := raw.Dial(addr, "/", 4)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if _, err := l.Requests(1000); err == nil {
				t.Error("1000 requests are said to have been answered")
			}
		})
	}
}
