package client

import (
	"context"
	"fmt"
	"net/url"
	"strings"
)

// Restart restarts a service; "" is the only one there is, and when there are
// several, an *[Error] that names them. It returns when that is over: the new
// generation serves and the old one is gone, or everything is as before.
// Report.Outcome says which; an error means that no restart was begun, or that
// its outcome could not be learned.
//
// progress, which may be nil, is told what happens to the service meanwhile, one
// event at a time, in order, from the calling goroutine; while it is slow the
// supervisor goes on. When ctx ends, Restart returns and the restart goes on.
func (c *Client) Restart(ctx context.Context, service string, r RestartRequest, progress func(Event)) (Report, error) {
	return c.change(ctx, service, "restart", r, progress)
}

// Rollback restarts a service with the binary and the environment of the
// generation before, which Status.Previous shows. Everything else is as for
// [Client.Restart].
func (c *Client) Rollback(ctx context.Context, service string, progress func(Event)) (Report, error) {
	return c.change(ctx, service, "rollback", struct{}{}, progress)
}

// Start starts a service that does not run: one that was stopped, that has
// failed, or that is only started when somebody asks. Everything else is as for
// [Client.Restart].
func (c *Client) Start(ctx context.Context, service string, progress func(Event)) (Report, error) {
	return c.change(ctx, service, "start", struct{}{}, progress)
}

// Stop ends a service in order, or with "" all services and their supervisor, and
// returns when the last generation is gone. progress and ctx are as for
// [Client.Restart].
func (c *Client) Stop(ctx context.Context, service string, progress func(Event)) (Report, error) {
	if service == "" {
		return c.act(ctx, "/v1/stop", struct{}{}, progress)
	}
	return c.change(ctx, service, "stop", struct{}{}, progress)
}

// Reload has a service read its configuration again, or with "" the supervisor
// its file: what has changed is replaced, what has not is not touched, and a file
// that cannot be used changes nothing. Report.Parts and Report.Unchanged say
// which. progress and ctx are as for [Client.Restart].
func (c *Client) Reload(ctx context.Context, service string, progress func(Event)) (Report, error) {
	if service == "" {
		return c.act(ctx, "/v1/reload", struct{}{}, progress)
	}
	return c.change(ctx, service, "reload", struct{}{}, progress)
}

func (c *Client) change(ctx context.Context, service, verb string, request any, progress func(Event)) (Report, error) {
	if service == "" {
		var err error
		if service, err = c.only(ctx); err != nil {
			return Report{}, err
		}
	}
	return c.act(ctx, "/v1/services/"+url.PathEscape(service)+"/"+verb, request, progress)
}

// only is the service that "" means.
func (c *Client) only(ctx context.Context) (string, error) {
	all, err := c.Overview(ctx)
	if err != nil {
		return "", err
	}
	switch names := all.Names(); len(names) {
	case 1:
		return names[0], nil
	case 0:
		return "", &Error{Message: fmt.Sprintf("%s has no service", all.Name)}
	default:
		return "", &Error{Message: fmt.Sprintf("%s has several services: %s", all.Name, strings.Join(names, ", ")), Hint: "say which one"}
	}
}
