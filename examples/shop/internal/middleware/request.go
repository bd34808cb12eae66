// Package middleware holds what happens around every handler. Order matters and
// is fixed in one place, router.New.
package middleware

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue/examples/shop/internal/reqid"
)

// RequestID takes the client's X-Request-Id or makes one up, puts it in the
// request's context and on the answer. Services enter a client's id in the
// ledger, in the transaction of whatever the request changes. The ledger counts
// a repeated id and does not suppress it: it is there to find repetitions.
func RequestID(c *gin.Context) {
	ctx := c.Request.Context()
	value := c.GetHeader(reqid.Header)
	if value == "" {
		ctx, value = reqid.Generated(ctx)
	} else if err := reqid.Check(value); err != nil {
		_ = c.Error(err)
		c.Abort()
		return
	} else {
		ctx = reqid.Supplied(ctx, value)
	}
	c.Request = c.Request.WithContext(ctx)
	c.Header(reqid.Header, value)
}

// ServedBy says on every answer which generation gave it, so that a client can
// see a restart it would otherwise not notice.
func ServedBy(value string) gin.HandlerFunc {
	return func(c *gin.Context) { c.Header("X-Served-By", value) }
}

// AccessLog writes one line per request when it has been answered: at level
// debug for quiet paths, which probes ask for all the time.
func AccessLog(log *slog.Logger, quiet ...string) gin.HandlerFunc {
	hushed := make(map[string]bool, len(quiet))
	for _, p := range quiet {
		hushed[p] = true
	}
	return func(c *gin.Context) {
		start := time.Now()
		c.Next()
		level := slog.LevelInfo
		switch {
		case c.Writer.Status() >= http.StatusInternalServerError:
			level = slog.LevelError
		case hushed[c.FullPath()]:
			level = slog.LevelDebug
		}
		if !log.Enabled(c.Request.Context(), level) {
			return
		}
		attrs := []slog.Attr{
			slog.String("method", c.Request.Method),
			slog.String("path", c.Request.URL.Path), // without the query, which may hold what is nobody's business
			slog.Int("status", c.Writer.Status()),
			slog.Int("bytes", max(0, c.Writer.Size())),
			slog.Duration("took", time.Since(start)),
			slog.String("remote", c.Request.RemoteAddr),
		}
		if err := c.Errors.Last(); err != nil {
			attrs = append(attrs, slog.String("err", err.Error()))
		}
		log.LogAttrs(c.Request.Context(), level, "request", attrs...)
	}
}

// Recover turns a panic into an error for Errors and logs its stack.
//
// http.ErrAbortHandler goes on to net/http: it is how a handler that has sent
// half of an answer breaks the connection, and gin's own Recovery swallows it,
// which makes half an answer look whole to the client.
func Recover(log *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				log.ErrorContext(c.Request.Context(), "handler panicked", "panic", p, "stack", string(debug.Stack()))
				if c.Writer.Written() {
					panic(http.ErrAbortHandler)
				}
				_ = c.Error(errPanic)
				c.Abort()
			}
		}()
		c.Next()
	}
}

var errPanic = errors.New("handler panicked")
