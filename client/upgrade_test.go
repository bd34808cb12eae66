package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// upgrading is a supervisor that is asked to upgrade: what it says of itself then
// is the next of these, and the last one from then on.
type upgrading struct {
	upgrade http.HandlerFunc
	asked   atomic.Int32
	answers []Overview
}

func (u *upgrading) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v1/upgrade":
		u.upgrade(w, r)
	case "/v1/version":
		json.NewEncoder(w).Encode(Version{Version: "v2", API: 1})
	default:
		n := min(int(u.asked.Add(1)), len(u.answers))
		if u.answers[n-1].PID == 0 {
			panic(ErrNotRunning)
		}
		json.NewEncoder(w).Encode(u.answers[n-1])
	}
}

// inMemory is a connection to a handler in no time, which synctest can wait for.
// An answer that the handler breaks off is one that ends too early; with ErrNotRunning
// there is no connection.
type inMemory struct{ h http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	rec := httptest.NewRecorder()
	defer func() {
		switch recover() {
		case nil:
		case ErrNotRunning:
			resp, err = nil, explainDial("/run/shop/api.sock", syscall.ECONNREFUSED)
		default:
			if resp, err = rec.Result(), nil; rec.Body.Len() == 0 {
				resp, err = nil, io.EOF
			}
		}
	}()
	m.h.ServeHTTP(rec, r)
	return rec.Result(), nil
}

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func TestUpgrade(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	state := func(pid int, since time.Time, crashes int, generations ...int) Overview {
		s := Status{Service: "web", Crashes: crashes}
		for _, g := range generations {
			s.Generations = append(s.Generations, Generation{Number: 1, PID: g, Role: RoleServing})
		}
		return Overview{Name: "shop", PID: pid, Since: since, Services: []Status{s}}
	}
	before, later := state(7, began, 0, 100), began.Add(time.Hour)
	for name, c := range map[string]struct {
		upgrade http.HandlerFunc
		answers []Overview
		want    string // error
	}{
		"it goes well":             {hangUp, []Overview{before, before, state(7, later, 0), state(7, later, 0, 100)}, ""},
		"one has crashed":          {hangUp, []Overview{before, state(7, later, 1, 101)}, ""},
		"events come before":       {func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, `{"kind":"problem"}`); hangUp(w, r) }, []Overview{before, state(7, later, 0, 100)}, ""},
		"another process":          {hangUp, []Overview{before, state(8, later, 0, 100)}, "the supervisor of shop (pid 7) ended while it was upgraded; another one (pid 8) runs"},
		"a generation was lost":    {hangUp, []Overview{before, state(7, later, 0, 101)}, "was not upgraded within 30s: the new one does not know generation 1 of web (pid 100)"},
		"nothing has happened":     {hangUp, []Overview{before}, "was not upgraded within 30s: the one of before still answers"},
		"nobody is there any more": {hangUp, []Overview{before, {}}, "the supervisor of shop (pid 7) ended while it was upgraded; the next `segue run`"},
		"a refusal": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(409)
			fmt.Fprintln(w, `{"error":"no","hint":"wait"}`)
		}, []Overview{before}, "no; wait"},
		"a refusal after an event": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, `{"kind":"problem"}`)
			fmt.Fprintln(w, `{"error":"no","hint":"wait"}`)
		}, []Overview{before}, "no; wait"},
	} {
		t.Run(name, func(t *testing.T) {
			u := &upgrading{upgrade: c.upgrade, answers: c.answers}
			synctest.Test(t, func(t *testing.T) { // for the thirty seconds
				client := &Client{socket: "/run/shop/api.sock", http: &http.Client{Transport: inMemory{u}}}
				v, err := client.Upgrade(t.Context(), UpgradeRequest{Binary: "/bin/segue-2"}, func(Event) {})
				switch {
				case c.want == "" && (err != nil || v.Version != "v2"):
					t.Errorf("got %+v, %v", v, err)
				case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
					t.Errorf("got %v, want %q in it", err, c.want)
				}
			})
		})
	}
}

func TestUpgradeOfNobody(t *testing.T) {
	_, err := New("/nowhere/shop/api.sock").Upgrade(t.Context(), UpgradeRequest{}, nil)
	if !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

// A question that a supervisor had accepted before it was replaced is asked again;
// an order is not.
func TestAskedAgain(t *testing.T) {
	var asked atomic.Int32
	c := New(supervisor(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			hangUp(w, r)
		}
		json.NewEncoder(w).Encode(Version{Version: "v2"})
	}))
	if v, err := c.Version(t.Context()); err != nil || v.Version != "v2" {
		t.Errorf("got %+v, %v", v, err)
	}
	asked.Store(0)
	if _, err := c.Stop(t.Context(), "", nil); err == nil || asked.Load() != 1 {
		t.Errorf("asked %d times, %v", asked.Load(), err)
	}
}
