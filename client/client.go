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
	"syscall"
)

// maxAnswer bounds an answer that is not a stream, and one line of a stream.
const maxAnswer = 4 << 20

// Client talks to one supervisor. It is safe for concurrent use. Each call has a
// connection of its own, which is gone when the call has returned: there is
// nothing to close.
//
// Every method fails with an *[Error]: a refusal by the supervisor, or one that
// [ErrNotRunning] matches when nobody listens; with the cause of ctx when ctx
// ended first; or with an error about the connection.
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
	resp, err := c.do(ctx, method, path, data)
	if method == http.MethodGet && ctx.Err() == nil && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		// It was accepted by a supervisor that has executed another command in its
		// place, which answers whoever asks again.
		resp, err = c.do(ctx, method, path, data)
	}
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

func (c *Client) do(ctx context.Context, method, path string, data []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://segue"+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if data != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.http.Do(req)
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
