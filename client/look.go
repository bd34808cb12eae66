package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// Overview asks how the supervisor and its services are.
func (c *Client) Overview(ctx context.Context) (Overview, error) {
	return get[Overview](ctx, c, "/v1/status")
}

// Version asks which supervisor answers.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return get[Version](ctx, c, "/v1/version")
}

// Events calls each for whatever happens to a service, or with "" to any of
// them, in order, from the calling goroutine, until each returns an error, which
// Events then returns, ctx ends (its cause), or the supervisor leaves (nil). The
// first events are the present state of each service; what happens after them is
// not missed by a subscriber that keeps up. What concerns the supervisor as a
// whole has no Service, and is told to everybody.
func (c *Client) Events(ctx context.Context, service string, each func(Event) error) error {
	path := "/v1/events"
	if service != "" {
		path += "?" + url.Values{"service": {service}}.Encode()
	}
	body, err := c.open(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	for lines := newStream(body); ; {
		l, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.broken(ctx, "events", err)
		}
		if err := each(l.Event); err != nil {
			return err
		}
	}
}

// Logs copies what a service wrote to its standard output and error to w, in
// whole lines. When following, it returns when ctx ends (its cause) or when there
// is nothing more to come (nil).
func (c *Client) Logs(ctx context.Context, r LogsRequest, w io.Writer) error {
	body, err := c.open(ctx, http.MethodGet, "/v1/logs?"+r.query().Encode(), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	out := &writer{w: w}
	if _, err := io.Copy(out, body); out.err != nil {
		return out.err
	} else if err != nil {
		return c.broken(ctx, "logs", err)
	}
	return nil
}

func (r LogsRequest) query() url.Values {
	q := url.Values{}
	if r.Service != "" {
		q.Set("service", r.Service)
	}
	if r.Generation != 0 {
		q.Set("generation", strconv.Itoa(r.Generation))
	}
	if r.Follow {
		q.Set("follow", "1")
	}
	if r.Label {
		q.Set("label", "1")
	}
	return q
}

// writer remembers the error of w, to tell it from one of the connection.
type writer struct {
	w   io.Writer
	err error
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.err = err
	return n, err
}
