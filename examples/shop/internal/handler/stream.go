package handler

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	streamHeartbeat = 15 * time.Second // below the idle timeout of common proxies
	streamRetry     = time.Second      // the client's pause after a connection that broke
	streamStall     = 10 * time.Second // a client that takes nothing for so long is given up
	goodbyeSpread   = 500 * time.Millisecond
)

// Stream answers GET /api/orders/stream with server-sent events, one per order,
// whose ids are the orders'. It goes on after Last-Event-ID (or ?after=), out of
// the database, so a client that comes back misses nothing and sees nothing
// twice. Without either it begins with the next order.
//
// The first event, "open", carries the id the stream begins after: a client
// that is cut off before the first order has a place to come back to.
func (h *Orders) Stream(c *gin.Context) {
	ctx := c.Request.Context()
	newest, err := h.orders.Newest(ctx)
	if err != nil {
		fail(c, err)
		return
	}
	from := c.GetHeader("Last-Event-ID")
	if from == "" {
		from = c.Query("after")
	}
	after, err := intParam("Last-Event-ID", from, newest, 0, 1<<62)
	if err != nil {
		fail(c, err)
		return
	}
	after = min(after, newest) // an id from another database: begin where this one is

	out := newEventStream(c)
	defer out.end()
	out.printf("retry: %d\nid: %d\nevent: open\ndata: {\"after\":%d}\n\n", streamRetry.Milliseconds(), after, after)
	leaving := h.leaving(ctx)
	heartbeat := time.NewTicker(streamHeartbeat)
	defer heartbeat.Stop()
	for out.flush() == nil {
		items, changed, err := h.orders.Next(ctx, after)
		if err != nil {
			if ctx.Err() == nil {
				h.log.WarnContext(ctx, "order stream ends early, the client will come back", "err", err)
			}
			return
		}
		for _, o := range items {
			data, err := json.Marshal(o)
			if err != nil {
				h.log.ErrorContext(ctx, "order cannot be encoded", "order", o.ID, "err", err)
				return
			}
			out.printf("id: %d\nevent: order\ndata: %s\n\n", o.ID, data)
			after = o.ID
		}
		if len(items) > 0 {
			changed = closed // there may be more: look again, unless asked to leave
		}
		select {
		case <-leaving:
			out.goodbye()
			return
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-leaving:
			out.goodbye()
			return
		case <-changed:
		case <-heartbeat.C:
			out.printf(": still here\n\n")
		}
	}
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// eventStream writes server-sent events and remembers the first failure.
type eventStream struct {
	c    *gin.Context
	ctrl *http.ResponseController
	err  error
}

func newEventStream(c *gin.Context) *eventStream {
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	if c.Request.ProtoMajor == 1 {
		// The client of a stream that said goodbye is to come back on a new
		// connection, which the next generation accepts, and this one need not wait
		// for the old connection to be used again. (In HTTP/2 the header would end
		// the connection for every other stream.)
		h.Set("Connection", "close")
	}
	c.Status(http.StatusOK)
	return &eventStream{c: c, ctrl: http.NewResponseController(c.Writer)}
}

func (s *eventStream) printf(format string, args ...any) {
	if s.err != nil {
		return
	}
	_ = s.ctrl.SetWriteDeadline(time.Now().Add(streamStall)) // not every ResponseWriter can; then a stalled client holds on longer
	_, s.err = fmt.Fprintf(s.c.Writer, format, args...)
}

func (s *eventStream) flush() error {
	if s.err == nil {
		s.err = s.ctrl.Flush()
	}
	return s.err
}

// goodbye tells the client to come back soon, and not all at the same instant.
func (s *eventStream) goodbye() {
	s.printf("retry: %d\n: leaving, please come back\n\n", 50+rand.Int64N(goodbyeSpread.Milliseconds()))
	_ = s.flush()
}

// end leaves no deadline behind for what net/http writes after the handler.
func (s *eventStream) end() { _ = s.ctrl.SetWriteDeadline(time.Time{}) }
