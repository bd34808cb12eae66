package client

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
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// supervisor answers with h at a socket; the service is called shop.
func supervisor(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "shop", "api.sock")
	if err := os.Mkdir(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { srv.Serve(ln); close(done) }()
	t.Cleanup(func() { srv.Close(); <-done; os.RemoveAll(dir) })
	return socket
}

func TestNobodyListens(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "shop", "api.sock")
	_, err := Dial(t.Context(), missing)
	want := fmt.Sprintf(`no supervisor named "shop" runs: there is no socket %s; start one: segue run --name shop -- ./shop`, missing)
	if !errors.Is(err, ErrNotRunning) || !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
		t.Errorf("no file:\n got %v\nwant %s", err, want)
	}
	if err := explainDial(missing, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", fs.ErrPermission)}); errors.Is(err, ErrNotRunning) ||
		!strings.Contains(err.Error(), "belongs to another user; run this command as that user, or as root") {
		t.Errorf("no permission: %v", err)
	}
}

func TestStreamsThatBreak(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"the end without a report": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, `{"kind":"problem","text":"x"}`)
		}, "the supervisor of shop went away before it had answered"},
		"a connection that is cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "the supervisor of shop went away before it had answered"},
		"no answer": {func(w http.ResponseWriter, _ *http.Request) {
			panic(http.ErrAbortHandler)
		}, "the supervisor of shop went away before it had answered"},
		"nonsense": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, `<html>`)
		}, "a line is not an event"},
		"another program": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "hello", http.StatusTeapot)
		}, "which is no answer of a segue supervisor"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(supervisor(t, c.answer)).Restart(t.Context(), "shop", RestartRequest{}, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestEndOfContextIsItsCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("had enough")
	socket := supervisor(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // net/http notices that a client is gone only after its body
		fmt.Fprintln(w, `{"kind":"step","step":{"name":"ready"}}`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	_, err := New(socket).Restart(ctx, "shop", RestartRequest{}, func(e Event) {
		if e.Step == nil || e.Step.Name != "ready" {
			t.Errorf("event %+v", e)
		}
		cancel(cause)
	})
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

// A newer supervisor may say more.
func TestUnknownFieldsAreNoError(t *testing.T) {
	socket := supervisor(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"name":"shop","mood":"good"}`)
	})
	if s, err := New(socket).Overview(t.Context()); err != nil || s.Name != "shop" {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestWriterErrorOfLogs(t *testing.T) {
	socket := supervisor(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "line\n") })
	r, w := io.Pipe()
	r.Close()
	if err := New(socket).Logs(t.Context(), LogsRequest{}, w); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

// TestTheOnlyService is what "" means; with several it is refused here.
func TestTheOnlyService(t *testing.T) {
	for overview, want := range map[string]string{
		`{"name":"shop","services":[{"service":"web"}]}`:                       "asked POST /v1/services/web/rollback",
		`{"name":"shop","services":[{"service":"web.1"},{"service":"web.2"}]}`: "asked POST /v1/services/web/rollback",
		`{"name":"shop","services":[{"service":"a b/c"}]}`:                     "asked POST /v1/services/a%20b%2Fc/rollback",
		`{"name":"shop","services":[{"service":"web"},{"service":"worker"}]}`:  "shop has several services: web, worker; say which one",
		`{"name":"shop"}`: "shop has no service",
	} {
		_, err := New(supervisor(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				io.WriteString(w, overview)
				return
			}
			w.WriteHeader(http.StatusConflict)
			fmt.Fprintf(w, `{"error":"asked %s %s"}`, r.Method, r.URL.EscapedPath())
		})).Rollback(t.Context(), "", nil)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", overview, err, want)
		}
	}
}
