package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"go.uber.org/goleak"
)

// askEnv has this binary ask the supervisor at its value for its version.
const askEnv = "SEGUE_TEST_ASK"

func TestMain(m *testing.M) {
	if socket := os.Getenv(askEnv); socket != "" {
		if _, err := client.Dial(context.Background(), socket); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// fake is a supervisor that does what the test says.
type fake struct {
	restart func(context.Context, client.RestartRequest) (client.Report, error)
	act     func(ctx context.Context, action, service string) (client.Report, error) // everything else that has a report
	upgrade func(context.Context, client.UpgradeRequest) error
	logs    func(ctx context.Context, r client.LogsRequest, w io.Writer) error
	reader  func(uid int, groups []int) bool
	all     *client.Overview

	mu   sync.Mutex
	subs map[chan client.Event]bool
}

func (f *fake) Overview() client.Overview {
	if f.all != nil {
		return *f.all
	}
	return client.Overview{Name: "shop", PID: 7, Version: "v1.2.3", Services: []client.Status{{Service: "shop", State: client.Serving}}}
}

func (f *fake) Restart(ctx context.Context, service string, r client.RestartRequest) (client.Report, error) {
	return f.restart(ctx, r)
}
func (f *fake) Rollback(ctx context.Context, service string) (client.Report, error) {
	return f.act(ctx, "rollback", service)
}
func (f *fake) Start(ctx context.Context, service string) (client.Report, error) {
	return f.act(ctx, "start", service)
}
func (f *fake) Stop(ctx context.Context, service string) (client.Report, error) {
	return f.act(ctx, "stop", service)
}
func (f *fake) Reload(ctx context.Context, service string) (client.Report, error) {
	return f.act(ctx, "reload", service)
}
func (f *fake) Upgrade(ctx context.Context, r client.UpgradeRequest) error { return f.upgrade(ctx, r) }
func (f *fake) Logs(ctx context.Context, r client.LogsRequest, w io.Writer) error {
	return f.logs(ctx, r, w)
}
func (f *fake) Reader(uid int, groups []int) bool { return f.reader != nil && f.reader(uid, groups) }

func (f *fake) Subscribe() (<-chan client.Event, func()) {
	ch := make(chan client.Event, 100)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = map[chan client.Event]bool{}
	}
	f.subs[ch] = true
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, ch)
	}
}

func (f *fake) publish(e client.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.subs {
		ch <- e
	}
}

// heard waits until what was published is being told.
func (f *fake) heard(t *testing.T) {
	for late := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		f.mu.Lock()
		waiting := 0
		for ch := range f.subs {
			waiting += len(ch)
		}
		f.mu.Unlock()
		if waiting == 0 {
			return
		}
		if time.Now().After(late) {
			t.Error("nobody listens")
			return
		}
	}
}

func (f *fake) subscribers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs)
}

// serve starts the API on a socket of the test's own; change may alter the
// server before it serves.
func serve(t *testing.T, f *fake, change ...func(*Server)) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "shop") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "api.sock")
	s, err := Listen(socket, -1, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(s)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is there after the end: %v", err)
		}
		os.RemoveAll(dir)
	})
	return socket
}

// raw sends a request that client.Client would not.
func raw(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(data))
}

func TestRefusals(t *testing.T) {
	f := &fake{
		restart: func(context.Context, client.RestartRequest) (client.Report, error) {
			return client.Report{}, &client.Error{Message: "cannot restart: one is under way", Hint: "wait for it"}
		},
		act: func(context.Context, string, string) (client.Report, error) {
			return client.Report{}, errors.New("cannot stop; it is stopped")
		},
		logs: func(context.Context, client.LogsRequest, io.Writer) error {
			return errors.New("cannot show the log of generation 9: gone")
		},
	}
	socket := serve(t, f)
	bad := func(what string) string {
		return `{"error":"cannot read the request: ` + what + `","hint":"its parameters are service, generation, follow, label"}`
	}
	var paths []string
	for _, r := range (&Server{backend: f}).routes() {
		paths = append(paths, r.method+" "+r.path)
	}
	there := func(path string) string {
		return `{"error":"there is nothing at ` + path + `","hint":"there is ` + strings.Join(paths, ", ") + `"}`
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"POST", "/v1/services/shop/restart", `{"binray":"x"}`, 400, `{"error":"cannot read the request: unknown field \"binray\"","hint":"send one JSON object; its fields are binary"}`},
		{"POST", "/v1/services/shop/restart", `{"binary":3}`, 400, `{"error":"cannot read the request: cannot unmarshal number into Go struct field RestartRequest.binary of type string","hint":"send one JSON object; its fields are binary"}`},
		{"POST", "/v1/services/shop/restart", `{"binary":`, 400, `{"error":"cannot read the request: unexpected EOF","hint":"send one JSON object; its fields are binary"}`},
		{"POST", "/v1/services/shop/restart", `{} {}`, 400, `{"error":"cannot read the request: more than one value","hint":"send one JSON object; its fields are binary"}`},
		{"POST", "/v1/services/shop/restart", `{"binary":"` + strings.Repeat("x", maxBody) + `"}`, 413, `{"error":"cannot read a request of more than 65536 bytes"}`},
		{"POST", "/v1/services/shop/restart", ``, 409, `{"error":"cannot restart: one is under way","hint":"wait for it"}`},
		{"POST", "/v1/stop", `{"now":true}`, 400, `{"error":"cannot read the request: unknown field \"now\"","hint":"send one JSON object; its fields are none"}`},
		{"POST", "/v1/stop", `{}`, 409, `{"error":"cannot stop","hint":"it is stopped"}`},
		{"POST", "/v1/services/web/restart", ``, 404, `{"error":"shop has no service \"web\"","hint":"its services are shop"}`},
		{"POST", "/v1/services/../stop", ``, 404, there("/v1/services/../stop")},
		{"GET", "/v1/stop", ``, 405, `{"error":"cannot GET /v1/stop","hint":"use POST"}`},
		{"DELETE", "/v1/services/web/restart", ``, 405, `{"error":"cannot DELETE /v1/services/web/restart","hint":"use POST"}`},
		{"GET", "/v2/status", ``, 404, there("/v2/status")},
		{"GET", "/v1/logs?generation=9", ``, 409, `{"error":"cannot show the log of generation 9: gone"}`},
		{"GET", "/v1/logs?generation=-1", ``, 400, bad(`generation=-1 is not the number of a generation`)},
		{"GET", "/v1/logs?generation=x", ``, 400, bad(`generation=\"x\" is not a number`)},
		{"GET", "/v1/logs?follow=yes", ``, 400, bad(`follow=\"yes\" is neither 0 nor 1`)},
		{"GET", "/v1/logs?tail=1", ``, 400, bad(`unknown parameter \"tail\"`)},
		{"GET", "/v1/logs?follow=1&follow=1", ``, 400, bad(`follow stands in the query 2 times`)},
		{"GET", "/v1/logs?service=web", ``, 404, `{"error":"shop has no service \"web\"","hint":"its services are shop"}`},
		{"GET", "/v1/events?service=web", ``, 404, `{"error":"shop has no service \"web\"","hint":"its services are shop"}`},
		{"GET", "/v1/events?generation=1", ``, 400, `{"error":"cannot read the request: unknown parameter \"generation\"","hint":"its parameters are service"}`},
	} {
		status, answer := raw(t, socket, c.method, c.path, c.body)
		if status != c.status || answer != c.answer {
			t.Errorf("%s %s %.40s:\n got %d %s\nwant %d %s", c.method, c.path, c.body, status, answer, c.status, c.answer)
		}
	}
	if n := f.subscribers(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
}

func TestRestartTellsWhatHappens(t *testing.T) {
	f := &fake{}
	f.restart = func(_ context.Context, r client.RestartRequest) (client.Report, error) {
		report := client.Report{Service: "shop", Action: "restart", Outcome: client.Done, Reason: r.Binary, Began: time.Now(), To: &client.Generation{Number: 2}}
		f.publish(client.Event{Kind: client.EventStep, Step: &client.Step{Name: "spawn"}})
		other := client.Report{Action: "stop"} // of something else that ended meanwhile
		f.publish(client.Event{Kind: client.EventReport, Report: &other})
		// The last event comes late, after the report is there.
		time.AfterFunc(time.Millisecond, func() {
			f.publish(client.Event{Kind: client.EventExit, Generation: 1})
			f.publish(client.Event{Kind: client.EventReport, Report: &report})
		})
		return report, nil
	}
	var got []client.EventKind
	report, err := client.New(serve(t, f)).Restart(t.Context(), "", client.RestartRequest{Binary: "./shop2"},
		func(e client.Event) { got = append(got, e.Kind) })
	if err != nil || report.Outcome != client.Done || report.Reason != "./shop2" {
		t.Errorf("got %+v, %v", report, err)
	}
	if want := fmt.Sprint([]client.EventKind{client.EventStep, client.EventExit}); fmt.Sprint(got) != want {
		t.Errorf("events %v, want %v", got, want)
	}
}

// A refusal is told also when the stream has begun because of something else.
func TestRefusalInTheStream(t *testing.T) {
	f := &fake{}
	seen := make(chan struct{})
	f.act = func(context.Context, string, string) (client.Report, error) {
		f.publish(client.Event{Kind: client.EventState, State: client.Restarting})
		<-seen
		return client.Report{}, errors.New("cannot stop: no; try again")
	}
	_, err := client.New(serve(t, f)).Stop(t.Context(), "", func(client.Event) { close(seen) })
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Message != "cannot stop: no" || refused.Hint != "try again" {
		t.Errorf("got %v", err)
	}
}

func TestRestartGoesOnWithoutItsClient(t *testing.T) {
	f := &fake{}
	begun, goOn, over := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	f.restart = func(ctx context.Context, _ client.RestartRequest) (client.Report, error) {
		close(begun)
		<-goOn
		over <- ctx.Err()
		return client.Report{Outcome: client.Done}, nil
	}
	socket := serve(t, f)
	ctx, hangUp := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := client.New(socket).Restart(ctx, "", client.RestartRequest{}, nil)
		done <- err
	}()
	<-begun
	hangUp()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the client got %v", err)
	}
	for range 2000 { // far more than a socket buffers: nobody waits for who has gone
		if f.subscribers() == 0 {
			break
		}
		f.mu.Lock()
		for ch := range f.subs {
			select {
			case ch <- client.Event{Kind: client.EventProblem, Text: strings.Repeat("x", 1000)}:
			default:
			}
		}
		f.mu.Unlock()
	}
	close(goOn)
	if err := <-over; err != nil {
		t.Errorf("the restart was disturbed: %v", err)
	}
}

func TestPeerIsThisUser(t *testing.T) {
	socket := serve(t, &fake{}, func(s *Server) {
		real := s.peer
		s.peer = func(c net.Conn) (peer, error) {
			who, err := real(c)
			if err != nil || who.uid != os.Geteuid() {
				t.Errorf("peer %+v, %v", who, err)
			}
			return who, err
		}
	})
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info.Mode(), err)
	}
	v, err := client.New(socket).Version(t.Context())
	if err != nil || v != (client.Version{Version: "v1.2.3", API: 1}) {
		t.Errorf("got %+v, %v", v, err)
	}
	st, err := client.New(socket).Overview(t.Context())
	if err != nil || st.PID != 7 {
		t.Errorf("got %+v, %v", st, err)
	}
}

func TestEventsBeginWithTheState(t *testing.T) {
	f := &fake{}
	enough := errors.New("enough")
	var got []string
	err := client.New(serve(t, f)).Events(t.Context(), "", func(e client.Event) error {
		got = append(got, string(e.Kind)+" "+string(e.State)+e.Text)
		if len(got) == 2 {
			return enough
		}
		f.publish(client.Event{Kind: client.EventProblem, Text: "oh"})
		return nil
	})
	if !errors.Is(err, enough) || strings.Join(got, ", ") != "state serving, problem oh" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestLogs(t *testing.T) {
	f := &fake{logs: func(ctx context.Context, r client.LogsRequest, w io.Writer) error {
		if r.Label {
			io.WriteString(w, "shop.3 | ")
		}
		fmt.Fprintln(w, r.Generation, r.Follow)
		if r.Generation == 5 {
			return errors.New("the disk is gone")
		}
		if r.Follow {
			<-ctx.Done()
		}
		return nil
	}}
	var b strings.Builder
	c := client.New(serve(t, f))
	if err := c.Logs(t.Context(), client.LogsRequest{Generation: 4, Label: true}, &b); err != nil || b.String() != "shop.3 | 4 false\n" {
		t.Errorf("got %q, %v", b.String(), err)
	}
	if err := c.Logs(t.Context(), client.LogsRequest{Generation: 5}, io.Discard); err == nil {
		t.Error("a log that was cut short looked complete")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- c.Logs(ctx, client.LogsRequest{Follow: true}, w) }()
	line := make([]byte, len("0 true\n"))
	if _, err := io.ReadFull(r, line); err != nil || string(line) != "0 true\n" {
		t.Errorf("got %q, %v", line, err)
	}
	cancel(enough)
	if err := <-done; !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

// Shutdown ends who follows and waits for who acts.
func TestShutdown(t *testing.T) {
	f := &fake{}
	stopping, goOn := make(chan struct{}), make(chan struct{})
	f.act = func(context.Context, string, string) (client.Report, error) {
		close(stopping)
		<-goOn
		report := client.Report{Outcome: client.Done}
		f.publish(client.Event{Kind: client.EventReport, Report: &report})
		return report, nil
	}
	f.logs = func(ctx context.Context, _ client.LogsRequest, w io.Writer) error {
		fmt.Fprintln(w, "here")
		<-ctx.Done()
		return ctx.Err()
	}
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := Listen(filepath.Join(dir, "api.sock"), -1, f)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	c := client.New(filepath.Join(dir, "api.sock"))
	following, watching, stopped := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	r, w := io.Pipe()
	go func() { following <- c.Logs(t.Context(), client.LogsRequest{Follow: true}, w) }()
	r.Read(make([]byte, 10))
	seen := make(chan struct{}, 1)
	go func() {
		watching <- c.Events(t.Context(), "", func(client.Event) error { seen <- struct{}{}; return nil })
	}()
	<-seen
	go func() {
		_, err := c.Stop(t.Context(), "", nil)
		stopped <- err
	}()
	<-stopping
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(t.Context()) }()
	if err := <-following; err != nil {
		t.Errorf("the follower got %v", err)
	}
	if err := <-watching; err != nil {
		t.Errorf("the watcher got %v", err)
	}
	select {
	case err := <-down:
		t.Errorf("Shutdown did not wait for the stop: %v", err)
	default:
	}
	close(goOn)
	if err := errors.Join(<-stopped, <-down, <-served); err != nil {
		t.Error(err)
	}
}

func TestListenRefuses(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if _, err := Listen(long, -1, &fake{}); err == nil || !strings.Contains(err.Error(), "SEGUE_RUNTIME_DIR") {
		t.Errorf("a path that is too long: %v", err)
	}
	if _, err := Listen("/nowhere/shop/api.sock", -1, &fake{}); err == nil {
		t.Error("a directory that is not there was taken")
	}
}

// A socket that a dead supervisor left is replaced.
func TestListenReplaces(t *testing.T) {
	f := &fake{}
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "api.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	if _, err := client.Dial(t.Context(), path); !errors.Is(err, client.ErrNotRunning) || !strings.Contains(err.Error(), "ended without removing it") {
		t.Errorf("a dead socket: %v", err)
	}
	s, err := Listen(path, -1, f)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	if _, err := client.Dial(t.Context(), path); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Shutdown(t.Context()), <-served); err != nil {
		t.Error(err)
	}
}
