package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
	"github.com/segue-go/segue/examples/shop/internal/logging"
	"github.com/segue-go/segue/examples/shop/internal/middleware"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}

// serve answers GET / with h inside the shop's middleware.
func serve(t *testing.T, h gin.HandlerFunc) (srv *httptest.Server, log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	logger, err := logging.New(log, "text", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	r.Use(middleware.AccessLog(logger, "/quiet"), middleware.Errors, middleware.Recover(logger), middleware.RequestID)
	r.GET("/", h)
	r.GET("/quiet", h)
	srv = httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return srv, log
}

func get(t *testing.T, srv *httptest.Server, path string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Request-Id", "the-id")
	res, err := srv.Client().Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

func TestErrorsBecomeStatusCodes(t *testing.T) {
	secret := errors.New("password=hunter2")
	for _, tc := range []struct {
		err    error
		status int
		want   string
	}{
		{apperr.New(apperr.Invalid, "say %s", "please"), 400, `{"error":"invalid","message":"say please","request_id":"the-id"}`},
		{apperr.New(apperr.NotFound, "m"), 404, `"not_found"`},
		{apperr.New(apperr.NotAllowed, "m"), 405, `"not_allowed"`},
		{apperr.New(apperr.Conflict, "m"), 409, `"conflict"`},
		{apperr.New(apperr.TooLarge, "m"), 413, `"too_large"`},
		{apperr.Wrap(apperr.Unavailable, secret, "m"), 503, `"unavailable"`},
		{fmt.Errorf("wrapped: %w", apperr.New(apperr.NotFound, "m")), 404, `"message":"m"`},
		{&http.MaxBytesError{Limit: 1}, 413, `"too_large"`},
		{io.ErrUnexpectedEOF, 400, `"invalid"`},
		{context.Canceled, 499, `"canceled"`},
		{context.DeadlineExceeded, 504, `"timeout"`},
		{secret, 500, `"internal"`},
	} {
		srv, log := serve(t, func(c *gin.Context) { _ = c.Error(tc.err) })
		res, body, err := get(t, srv, "/")
		if err != nil || res.StatusCode != tc.status || !strings.Contains(body, tc.want) {
			t.Errorf("%v: %v %d %s, want %d with %s", tc.err, err, res.StatusCode, body, tc.status, tc.want)
		}
		if strings.Contains(body, "hunter2") {
			t.Errorf("%v: the cause was shown to the client: %s", tc.err, body)
		}
		if tc.status == 503 && res.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		srv.Close() // the log line is complete
		if line := log.String(); !strings.Contains(line, tc.err.Error()) && !strings.Contains(line, "hunter2") {
			t.Errorf("the log does not have the cause: %s", line)
		}
	}
}

func TestPanicBecomesAnError(t *testing.T) {
	srv, log := serve(t, func(*gin.Context) { panic("oops") })
	res, body, err := get(t, srv, "/")
	if err != nil || res.StatusCode != 500 || strings.Contains(body, "oops") {
		t.Errorf("%v %v %s", err, res, body)
	}
	srv.Close()
	for _, want := range []string{"panic=oops", "middleware_test.go", "request_id=the-id", "status=500"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
}

// Half an answer must not look whole, whether the handler gave up or panicked.
func TestHalfAnAnswerIsBrokenOff(t *testing.T) {
	for _, p := range []any{http.ErrAbortHandler, "oops"} {
		srv, _ := serve(t, func(c *gin.Context) {
			c.String(200, "half of it")
			c.Writer.Flush()
			panic(p)
		})
		if _, body, err := get(t, srv, "/"); err == nil {
			t.Errorf("panic(%v): the client read %q and saw no error", p, body)
		}
	}
}

func TestAccessLog(t *testing.T) {
	srv, log := serve(t, func(c *gin.Context) { c.String(200, "hello") })
	for _, path := range []string{"/quiet", "/?token=hunter2"} {
		if _, _, err := get(t, srv, path); err != nil {
			t.Fatal(err)
		}
	}
	srv.Close()
	line := log.String()
	if strings.Contains(line, "quiet") || strings.Contains(line, "hunter2") || strings.Count(line, "\n") != 1 {
		t.Errorf("want one line, without the query: %s", line)
	}
	for _, want := range []string{"method=GET", "path=/ ", "status=200", "bytes=5", "request_id=the-id"} {
		if !strings.Contains(line, want) {
			t.Errorf("the log lacks %q: %s", want, line)
		}
	}
}
