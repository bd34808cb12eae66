package middleware

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
	"github.com/segue-go/segue/examples/shop/internal/reqid"
)

// Problem is the body of every answer that is not a success.
type Problem struct {
	Error     string `json:"error"` // stable, for programs
	Message   string `json:"message"`
	RequestID string `json:"request_id,omitempty"`
}

// StatusClientGone is nginx's number for a client that did not wait for its
// answer. Nobody receives it; it is there for the access log.
const StatusClientGone = 499

// Errors answers a request whose handler left an error in the context and wrote
// nothing. It is the only place that knows which failure has which status code.
func Errors(c *gin.Context) {
	c.Next()
	last := c.Errors.Last()
	if last == nil || c.Writer.Written() {
		return
	}
	status, problem := classify(last.Err)
	problem.RequestID = reqid.From(c.Request.Context())
	if status == http.StatusServiceUnavailable {
		c.Header("Retry-After", "1")
	}
	c.AbortWithStatusJSON(status, problem)
}

func classify(err error) (int, Problem) {
	var app *apperr.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &app):
		return status(app.Kind), Problem{Error: app.Kind.String(), Message: app.Message}
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, Problem{Error: apperr.TooLarge.String(), Message: "the body is larger than this server accepts"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return http.StatusBadRequest, Problem{Error: apperr.Invalid.String(), Message: "the body ended before it was complete"}
	case errors.Is(err, context.Canceled):
		return StatusClientGone, Problem{Error: "canceled", Message: "the client went away"}
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, Problem{Error: "timeout", Message: "this took longer than allowed"}
	}
	return http.StatusInternalServerError, Problem{Error: "internal", Message: "something went wrong here; the log has the details under this request_id"}
}

func status(k apperr.Kind) int {
	switch k {
	case apperr.Invalid:
		return http.StatusBadRequest
	case apperr.NotFound:
		return http.StatusNotFound
	case apperr.NotAllowed:
		return http.StatusMethodNotAllowed
	case apperr.Conflict:
		return http.StatusConflict
	case apperr.TooLarge:
		return http.StatusRequestEntityTooLarge
	case apperr.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
