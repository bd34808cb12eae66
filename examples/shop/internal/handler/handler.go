// Package handler translates between HTTP and the services. A handler decodes,
// calls one service, and encodes; when it fails it leaves the error in the
// context and middleware.Errors answers.
package handler

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
)

// Leaving returns a channel that is closed when the server wants the connection
// of ctx back: streams end then, in their own polite way. It has the shape of
// conns.Leaving. A nil channel never asks.
type Leaving func(ctx context.Context) <-chan struct{}

const maxJSON = 1 << 20

// fail leaves err for middleware.Errors.
func fail(c *gin.Context, err error) {
	_ = c.Error(err)
	c.Abort()
}

// decode reads one JSON value, strictly: a misspelt field is an error and not a
// default.
func decode(c *gin.Context, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(c.Writer, c.Request.Body, maxJSON))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil && d.More() {
		err = errors.New("more than one value")
	}
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge), errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case errors.Is(err, io.EOF):
		return apperr.New(apperr.Invalid, "the body is empty: send JSON")
	}
	return apperr.New(apperr.Invalid, "the body is not the JSON this route takes: %v", err)
}

// intParam parses a decimal between low and high, absent meaning def.
func intParam(name, value string, def, low, high int64) (int64, error) {
	if value == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < low || n > high {
		return 0, apperr.New(apperr.Invalid, "%s must be a number between %d and %d, not %q", name, low, high, value)
	}
	return n, nil
}

func intQuery(c *gin.Context, name string, def, low, high int64) (int64, error) {
	return intParam(name, c.Query(name), def, low, high)
}

// page reads ?after= and ?limit=.
func page(c *gin.Context, defLimit, maxLimit int64) (after int64, limit int, err error) {
	if after, err = intQuery(c, "after", 0, 0, 1<<62); err != nil {
		return 0, 0, err
	}
	n, err := intQuery(c, "limit", defLimit, 1, maxLimit)
	return after, int(n), err
}
