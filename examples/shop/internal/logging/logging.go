// Package logging builds the shop's logger. Every line written with a context
// carries the id of the request being served.
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/segue-go/segue/examples/shop/internal/reqid"
)

// New returns a logger that writes lines of the given format ("text" or
// "json") at level and above to w.
func New(w io.Writer, format string, level slog.Level) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(withRequest{slog.NewTextHandler(w, opts)}), nil
	case "json":
		return slog.New(withRequest{slog.NewJSONHandler(w, opts)}), nil
	}
	return nil, fmt.Errorf("log format %q is not known: use text or json", format)
}

// withRequest adds request_id to records that are logged with a request's context.
type withRequest struct{ slog.Handler }

func (h withRequest) Handle(ctx context.Context, r slog.Record) error {
	if id := reqid.From(ctx); id != "" {
		r.AddAttrs(slog.String("request_id", id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h withRequest) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withRequest{h.Handler.WithAttrs(attrs)}
}

func (h withRequest) WithGroup(name string) slog.Handler {
	return withRequest{h.Handler.WithGroup(name)}
}
