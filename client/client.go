package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
)

// maxAnswer bounds an answer that is not a stream, and one line of a stream.
const maxAnswer = 4 << 20

// Client talks to one supervisor. It is safe for concurrent use. Each call has a
// connection of its own, which is gone when the call has returned: there is
// nothing to close.
type Client struct {
	socket string
	http   *http.Client
}

// New returns a client of the supervisor whose API is at the unix socket, which
// is <runtime directory>/<name>/api.sock. Nothing is dialled yet: each call says
// whether somebody listens.
func New(socket string) *Client {
	c := &Client{socket: socket}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, explainDial(socket, err)
			}
			return conn, nil
		},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}}
	return c
}

// Dial is [New] that also asks whether a supervisor answers there. The error is
// that of [Client.Version].
func Dial(ctx context.Context, socket string) (*Client, error) {
	c := New(socket)
	if _, err := c.Version(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Overview asks how the supervisor and its services are. Like every method, it fails with an *[Error]:
// a refusal by the supervisor, or one that [ErrNotRunning] matches when nobody
// listens; with the cause of ctx when ctx ended first; or with an error about
// the connection.
func (c *Client) Overview(ctx context.Context) (Overview, error) {
	return get[Overview](ctx, c, "/v1/status")
}

// Version asks which supervisor answers.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return get[Version](ctx, c, "/v1/version")
}

// Restart restarts a service; "" is the only one. It returns when that is over: the new generation
// serves and the old one is gone, or everything is as before. Report.Outcome
// says which; an error means that no restart was begun, or that its outcome
// could not be learned.
//
// progress, which may be nil, is told what happens meanwhile, one event at a
// time, in order, from the calling goroutine; while it is slow the supervisor
// goes on. When ctx ends, Restart returns and the restart goes on.
func (c *Client) Restart(ctx context.Context, service string, r RestartRequest, progress func(Event)) (Report, error) {
	return c.act(ctx, "/v1/restart", r, progress)
}

// Stop ends a service in order, or with "" all services and their supervisor, and
// returns when the last generation is gone. progress and ctx are as for [Client.Restart].
func (c *Client) Stop(ctx context.Context, service string, progress func(Event)) (Report, error) {
	return c.act(ctx, "/v1/stop", struct{}{}, progress)
}

// Events calls each for whatever happens, in order, from the calling goroutine,
// until each returns an error, which Events then returns, ctx ends (its cause),
// or the supervisor leaves (nil). The first event is the present state; what
// happens after it is not missed by a subscriber that keeps up.
func (c *Client) Events(ctx context.Context, each func(Event) error) error {
	body, err := c.open(ctx, http.MethodGet, "/v1/events", nil)
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

// Logs copies what a generation wrote to its standard output and error to w, in
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

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var v T
	body, err := c.open(ctx, http.MethodGet, path, nil)
	if err != nil {
		return v, err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(&v); err != nil {
		return v, c.broken(ctx, path, err)
	}
	return v, nil
}

// act does a POST that is answered with events and then the report.
func (c *Client) act(ctx context.Context, path string, request any, progress func(Event)) (Report, error) {
	data, err := json.Marshal(request)
	if err != nil {
		return Report{}, fmt.Errorf("cannot write down the request: %w", err)
	}
	body, err := c.open(ctx, http.MethodPost, path, data)
	if err != nil {
		return Report{}, err
	}
	defer body.Close()
	for lines := newStream(body); ; {
		l, err := lines.next()
		switch {
		case err != nil:
			return Report{}, c.broken(ctx, path, err)
		case l.Message != "":
			return Report{}, &Error{Message: l.Message, Hint: l.Hint}
		case l.Kind == EventReport && l.Report != nil:
			return *l.Report, nil
		case progress != nil:
			progress(l.Event)
		}
	}
}

// open sends a request and returns the body of an answer that is no refusal.
func (c *Client) open(ctx context.Context, method, path string, data []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://segue"+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if data != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var told *Error
		if errors.As(err, &told) {
			return nil, told
		}
		return nil, c.broken(ctx, path, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	refusal := &Error{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(refusal); err != nil || refusal.Message == "" {
		return nil, fmt.Errorf("cannot talk to %s: it answered %s, which is no answer of a segue supervisor", c.socket, resp.Status)
	}
	return nil, refusal
}

// broken is an exchange that ended before it was complete.
func (c *Client) broken(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Error{
			Message: fmt.Sprintf("the supervisor of %s went away before it had answered: what became of the request is not known", serviceOf(c.socket)),
			Hint:    "see `segue status`, and the supervisor's own output",
			cause:   err,
		}
	}
	return fmt.Errorf("cannot read the answer to %s from %s: %w", what, c.socket, err)
}
