package conns

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

// TestSettle waits for those that were there, not for those that come to be refused.
func TestSettle(t *testing.T) {
	ln := listen(t)
	h, _ := serve(t, &http.Server{Handler: http.HandlerFunc(hello)}, ln)
	early := newClient(t, ln.Addr())
	early.get(t, "/")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := h.Settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Settle before Refuse: %v", err)
	}
	h.Refuse(time.Second)
	late := newClient(t, ln.Addr())
	io.WriteString(late, "GET / HTTP/1.1\r\n")
	until(t, "the late one is accepted", func() bool { return h.Stats().Open == 2 })
	if resp := early.get(t, "/"); resp.StatusCode != 503 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if err := h.Settle(budget(t, patience)); err != nil {
		t.Fatal(err)
	}
	if n := h.Stats().Open; n != 1 {
		t.Errorf("%d connections are open, want the late one", n)
	}
	if resp, _, err := late.ask("Host: test\r\n\r\n"); err != nil || resp.StatusCode != 503 {
		t.Errorf("the late one got %v, %v", resp, err)
	}
	h.Refuse(time.Second) // again
	if err := h.Settle(budget(t, patience)); err != nil {
		t.Fatal(err)
	}
}
