package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/segue-go/segue/client"
)

// Logs writes the output of a service, or with "" of all of them, whole lines
// only. With Follow it goes on until ctx or what it follows has ended.
func (s *Supervisor) Logs(ctx context.Context, r client.LogsRequest, w io.Writer) error {
	s.mu.Lock()
	all := s.instances()
	s.mu.Unlock()
	if r.Service != "" {
		var err error
		if all, err = s.find(r.Service); err != nil {
			return err
		}
	}
	if r.Generation > 0 && len(all) > 1 {
		return &client.Error{Message: fmt.Sprintf("cannot tell whose generation %d is meant", r.Generation), Hint: "name the service, or one instance of it"}
	}
	if len(all) == 1 {
		return s.follow(ctx, all[0], r, w)
	}
	out := &inTurn{w: w}
	var following sync.WaitGroup
	errs := make([]error, len(all))
	for n, i := range all {
		if r.Follow {
			following.Go(func() { errs[n] = s.follow(ctx, i, r, out) })
		} else {
			errs[n] = s.follow(ctx, i, r, out)
		}
	}
	following.Wait()
	if slices.Contains(errs, nil) {
		return nil // somebody had something to show
	}
	return errors.Join(errs...)
}

// follow writes the output of one instance, also of those of its lives that begin
// while it is followed.
func (s *Supervisor) follow(ctx context.Context, i *instance, r client.LogsRequest, w io.Writer) error {
	var label func(int) string
	if r.Label {
		label = func(n int) string { return fmt.Sprintf("%s.%d | ", i.name, n) }
	}
	for {
		s.mu.Lock()
		service, changed := i.past, s.changed
		if i.life != nil {
			service = i.life.service
		}
		s.mu.Unlock()
		switch {
		case service != nil: // it follows those of later lives, too: they have one directory
			return service.Follow(ctx, r.Generation, r.Follow, label, w)
		case !r.Follow:
			return &client.Error{Message: fmt.Sprintf("%s has not been started", i.name), Hint: "segue start " + i.service}
		}
		select {
		case <-changed:
		case <-s.stopped:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// inTurn lets several write: each Write is a whole line.
type inTurn struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *inTurn) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
