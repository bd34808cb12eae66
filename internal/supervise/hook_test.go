//go:build unix

package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
)

// receiver answers with the statuses, one after the other, the last one again and
// again.
func receiver(t *testing.T, statuses ...int) (url string, got func() []string) {
	var mu sync.Mutex
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		status := statuses[min(len(bodies), len(statuses)-1)]
		bodies = append(bodies, fmt.Sprintf("%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("Content-Type"), body))
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string { mu.Lock(); defer mu.Unlock(); return append([]string{}, bodies...) }
}

func quickPoster() poster {
	return poster{timeout: 5 * time.Second, tries: 3, pause: time.Millisecond, random: func() float64 { return 0.5 }}
}

func TestPost(t *testing.T) {
	for name, test := range map[string]struct {
		statuses []int
		attempts int
		failure  string
	}{
		"at once":          {[]int{204}, 1, ""},
		"fails twice":      {[]int{500, 503, 200}, 3, ""},
		"is too busy":      {[]int{429, 408, 201}, 3, ""},
		"fails always":     {[]int{502}, 3, "answered 502 Bad Gateway, the last of 3 attempts"},
		"does not want it": {[]int{404, 200}, 1, "answered 404 Not Found"},
		"is elsewhere":     {[]int{302, 200}, 1, "answered 302 Found: redirects are not followed; write the address that it leads to"},
		"keeps the method": {[]int{307, 200}, 1, "answered 307 Temporary Redirect: redirects are not followed; write the address that it leads to"},
	} {
		t.Run(name, func(t *testing.T) {
			url, got := receiver(t, test.statuses...)
			err := quickPoster().send(t.Context(), url+"/x", []byte(`{"a":1}`))
			if fmt.Sprint(err) != test.failure && (err != nil || test.failure != "") {
				t.Errorf("error %v, want %q", err, test.failure)
			}
			if all := got(); len(all) != test.attempts || all[len(all)-1] != `POST /x application/json {"a":1}` {
				t.Errorf("%d attempts, want %d: %q", len(all), test.attempts, all)
			}
		})
	}
}

// TestPostKeepsSecrets: no error shows an address, of which every part may be one.
func TestPostKeepsSecrets(t *testing.T) {
	const secret = "hunter2"
	for _, to := range []string{
		"http://u:" + secret + "@127.0.0.1:1/" + secret + "?key=" + secret, // nobody listens
		"ht tp://" + secret + "/",
		"http://127.0.0.1:1\x7f/" + secret,
		"gopher://127.0.0.1/" + secret,
		"https://user:" + secret + "@[::1/" + secret,
	} {
		err := quickPoster().send(t.Context(), to, nil)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("error %v", err)
		}
		if s := (Hook{URL: to}).String(); strings.Contains(s, secret) {
			t.Errorf("shown as %s", s)
		}
	}
	if s := (Hook{URL: "https://u:p@hooks.example.com/a/b?c"}).String(); s != "https://hooks.example.com/..." {
		t.Errorf("shown as %s", s)
	}
	if s := (Hook{URL: "https://hooks.example.com"}).String(); s != "https://hooks.example.com" {
		t.Errorf("shown as %s", s)
	}
}

// TestPostWaitsNoLongerThan its timeout, for one that never answers, and than its
// context between attempts.
func TestPostWaitsNoLonger(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	p := quickPoster()
	p.timeout = 20 * time.Millisecond
	if err := p.send(t.Context(), server.URL, nil); err == nil || err.Error() != "no answer within 20ms, the last of 3 attempts" {
		t.Errorf("error %v", err)
	}
	url, got := receiver(t, 500)
	p.pause = time.Hour
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(errors.New("over")) })
	if err := p.send(ctx, url, nil); err == nil || !strings.Contains(err.Error(), "over") {
		t.Errorf("error %v", err)
	}
	if n := len(got()); n != 1 && n != 2 {
		t.Errorf("%d attempts", n)
	}
}

func TestHookChooses(t *testing.T) {
	last := []Occasion{OnFailed, OnCrashLoop, OnCrash}
	for _, test := range []struct {
		on   []Occasion
		of   []Occasion
		want Occasion
	}{
		{nil, last, OnFailed},
		{nil, []Occasion{OnRollback}, OnRollback},
		{[]Occasion{OnCrash}, last, OnCrash},
		{[]Occasion{OnCrash, OnCrashLoop}, last, OnCrashLoop},
		{[]Occasion{OnRollback}, last, ""},
		{[]Occasion{OnFailed}, []Occasion{OnCrash}, ""},
	} {
		if got := (Hook{On: test.on}).choose(test.of); got != test.want {
			t.Errorf("%v of %v: %q, want %q", test.on, test.of, got, test.want)
		}
	}
}

// problems collects events.
type problems struct {
	mu   sync.Mutex
	list []string
}

func (p *problems) publish(e client.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, e.Text)
}

func (p *problems) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.list...)
}

// TestHookCommand gets what has happened on its standard input and in its
// environment, in the order in which it has happened.
func TestHookCommand(t *testing.T) {
	dir := t.TempDir()
	c := Config{Name: "shop", Dir: dir, Env: []string{"MODE=production"}, Hooks: []Hook{{Command: []string{"sh", "-c",
		`cat >$SEGUE_GENERATION.json; echo "$SEGUE_OCCASION $SEGUE_SERVICE $SEGUE_GENERATION $SEGUE_REASON $MODE" >>told`}}}}
	var p problems
	h := newHooks(p.publish)
	h.tell(c, notice{Generation: 3, Reason: "exited\x00 with status 7"}, OnCrash)
	h.tell(c, notice{Generation: 4, Reason: strings.Repeat("x", 100), Report: &client.Report{Outcome: client.RolledBack, Output: []string{strings.Repeat("y", 1<<17)}}}, OnRollback)
	h.close()
	if all := p.all(); len(all) > 0 {
		t.Error(all)
	}
	told, _ := os.ReadFile(filepath.Join(dir, "told"))
	if want := "crash shop 3 exited with status 7 production\nrollback shop 4 " + strings.Repeat("x", 100) + " production\n"; string(told) != want {
		t.Errorf("told %q, want %q", told, want)
	}
	for file, want := range map[string]notice{"3.json": {Generation: 3, Occasion: OnCrash}, "4.json": {Generation: 4, Occasion: OnRollback}} {
		data, _ := os.ReadFile(filepath.Join(dir, file))
		var n notice
		if err := json.Unmarshal(data, &n); err != nil || n.Generation != want.Generation || n.Occasion != want.Occasion || n.Service != "shop" || n.Time.IsZero() || n.Host == "" {
			t.Errorf("%s: %+v, %v", file, n, err)
		}
		if file == "4.json" && (n.Report == nil || len(n.Report.Output[0]) != 1<<17) {
			t.Errorf("report %v", n.Report != nil)
		}
	}
}

// TestHookFails: it is a problem that somebody may see, with what it has said.
func TestHookFails(t *testing.T) {
	var p problems
	h := newHooks(p.publish)
	c := Config{Name: "shop", Hooks: []Hook{{Command: []string{"sh", "-c", "echo no route; exit 4"}}, {Command: []string{"./is-not-there"}}}}
	h.tell(c, notice{}, OnCrash)
	h.close()
	all := strings.Join(p.all(), "\n")
	for _, want := range []string{"was not told of the crash: sh exited with status 4; it wrote:\nno route", "cannot run ./is-not-there"} {
		if !strings.Contains(all, want) {
			t.Errorf("problems %s\nwant %s in them", all, want)
		}
	}
}

// TestHookHangs: it is killed, it is behind, and another one is told all the same.
func TestHookHangs(t *testing.T) {
	dir := t.TempDir()
	c := Config{Name: "shop", Dir: dir, Hooks: []Hook{
		{Command: []string{"sh", "-c", "echo $$ >>hangs; sleep 1000"}},
		{Command: []string{"sh", "-c", "echo $SEGUE_GENERATION >>works"}, On: []Occasion{OnFailed}},
	}}
	var p problems
	h := newHooks(p.publish)
	h.timeout, h.end = 300*time.Millisecond, time.Second
	began := time.Now()
	h.tell(c, notice{Generation: 1}, OnFailed)
	for range hooksWaiting + 1 {
		h.tell(c, notice{Generation: 2}, OnCrash)
	}
	h.close()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if works, _ := os.ReadFile(filepath.Join(dir, "works")); string(works) != "1\n" {
		t.Errorf("the other hook was told %q", works)
	}
	all := strings.Join(p.all(), "\n")
	for _, want := range []string{"sh was killed: it was not over within 300ms", "it is 64 behind", "the service has ended"} {
		if !strings.Contains(all, want) {
			t.Errorf("problems %s\nwant %s in them", all, want)
		}
	}
	pids, _ := os.ReadFile(filepath.Join(dir, "hangs"))
	for _, pid := range strings.Fields(string(pids)) {
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("process %s is still there", pid)
		}
	}
}
