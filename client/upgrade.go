package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bounds of the wait for a supervisor that has executed itself anew.
const (
	upgradePatience = 30 * time.Second
	upgradeTick     = 20 * time.Millisecond
)

// Upgrade has the supervisor execute another segue command, or its own again, in
// its place: the process stays, with every socket and every generation. It
// returns when the new one answers, with its version; an error that is a refusal
// means that nothing has changed.
//
// progress, which may be nil, is told what the old one says until then. When ctx
// ends, Upgrade returns and the upgrade goes on.
func (c *Client) Upgrade(ctx context.Context, r UpgradeRequest, progress func(Event)) (Version, error) {
	before, err := c.Overview(ctx)
	if err != nil {
		return Version{}, err
	}
	// The answer breaks off when the supervisor has gone through with it.
	_, err = c.act(ctx, "/v1/upgrade", r, progress)
	var told *Error
	switch {
	case ctx.Err() != nil:
		return Version{}, context.Cause(ctx)
	case errors.As(err, &told) && told.cause == nil, errors.Is(err, ErrNotRunning):
		return Version{}, err
	}
	return c.awaitNext(ctx, before)
}

// awaitNext waits until the same process answers as another supervisor, which
// has what the one before had.
func (c *Client) awaitNext(ctx context.Context, before Overview) (Version, error) {
	patient, cancel := context.WithTimeout(ctx, upgradePatience)
	defer cancel()
	why := "nobody answers at " + c.socket
	for {
		switch now, err := c.Overview(patient); {
		case errors.Is(err, ErrNotRunning): // its socket is passed on, and never closed
			return Version{}, &Error{
				Message: fmt.Sprintf("the supervisor of %s (pid %d) ended while it was upgraded", before.Name, before.PID),
				Hint:    "the next `segue run` takes over the services that it has left",
			}
		case err != nil && patient.Err() != nil: // why is what came before
		case err != nil:
			why = err.Error()
		case now.PID != before.PID:
			return Version{}, &Error{
				Message: fmt.Sprintf("the supervisor of %s (pid %d) ended while it was upgraded; another one (pid %d) runs", before.Name, before.PID, now.PID),
				Hint:    "see `segue status`, and the supervisor's own output",
			}
		case now.Since.Equal(before.Since):
			why = "the one of before still answers"
		default:
			if why = missing(before, now); why == "" {
				return c.Version(ctx)
			}
		}
		select {
		case <-time.After(upgradeTick):
		case <-patient.Done():
			if ctx.Err() != nil {
				return Version{}, context.Cause(ctx)
			}
			return Version{}, &Error{
				Message: fmt.Sprintf("the supervisor of %s (pid %d) was not upgraded within %v: %s", before.Name, before.PID, upgradePatience, why),
				Hint:    "see `segue status`, and the supervisor's own output",
			}
		}
	}
}

// missing names a generation that served before and is not there now, though it
// has not crashed.
func missing(before, now Overview) string {
	for _, s := range before.Services {
		for _, g := range s.Generations {
			if g.Role == RoleServing && !has(now, s, g.PID) {
				return fmt.Sprintf("the new one does not know generation %d of %s (pid %d)", g.Number, s.Service, g.PID)
			}
		}
	}
	return ""
}

func has(now Overview, before Status, pid int) bool {
	for _, s := range now.Services {
		if s.Service == before.Service && (s.Crashes > before.Crashes ||
			slices.ContainsFunc(s.Generations, func(g Generation) bool { return g.PID == pid })) {
			return true
		}
	}
	return false
}
