package conns

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Refuse announces, and answers every new request with 503 Service Unavailable,
// Connection: close and Retry-After (in seconds, rounded up). Requests in flight
// finish. It is for a server that leaves without a successor: a client that it no
// longer accepted would be reset in the backlog. Called again, it changes
// retryAfter; it cannot be taken back.
func (h *HTTP) Refuse(retryAfter time.Duration) {
	h.retryAfter.Store(int64((max(retryAfter, 0) + time.Second - 1) / time.Second))
	h.rise(refusing)
	h.tracker.mark()
	h.Announce()
}

// Settle is [HTTP.Wait] for the connections that there were when Refuse was
// first called: what came later was refused, and clients that keep coming would
// have Wait wait for ever. It returns nil when they are gone, and ctx.Err() when
// ctx ends, as it does without Refuse.
func (h *HTTP) Settle(ctx context.Context) error { return h.tracker.settle(ctx) }

func (h *HTTP) refuse(w http.ResponseWriter) {
	seconds := h.retryAfter.Load()
	w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	http.Error(w, fmt.Sprintf("This server is stopping. Try again in %d s.", seconds), http.StatusServiceUnavailable)
}
