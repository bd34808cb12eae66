package segue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/segue-go/segue/handover"
)

// Pauses between two attempts of a check while the service starts.
const (
	firstPause = 50 * time.Millisecond
	mostPause  = time.Second
)

// startGrace is how long a start that honours the end of its context has to say
// what it was waiting for.
const startGrace = 500 * time.Millisecond

// prepare runs setup, opens the sockets and waits for the checks. It runs
// beside the loop, so that a signal is heard while setup hangs.
func (m *machine) prepare(ctx context.Context, setup func(context.Context, *App) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.opts.StartTimeout,
		fmt.Errorf("the start took longer than %v", m.opts.StartTimeout))
	defer cancel()
	began := time.Now()
	err := guard("setup", func() error { return setup(ctx, m.app) })
	err = errors.Join(err, m.app.freeze())
	m.note(Step{Name: "setup", Took: time.Since(began), Budget: m.opts.StartTimeout, Error: text(err)})
	if err != nil {
		return fmt.Errorf("setup failed: %w", err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("setup failed: %w", context.Cause(ctx)) // it leaves already: open nothing
	}
	if err := m.bind(); err != nil {
		return err
	}
	m.keepSockets(ctx)
	began = time.Now()
	err = m.awaitChecks(ctx)
	m.note(Step{Name: "checks", Took: time.Since(began), Budget: m.opts.StartTimeout, Error: text(err)})
	return err
}

// startIsLate gives up on a setup or a check that ignores the end of its context.
func (m *machine) startIsLate() {
	m.do(func() error {
		if m.phase == Starting {
			m.fail(fmt.Errorf("the start took longer than %v and did not end when told to: have setup and checks honour their context", m.opts.StartTimeout))
			m.leave("the start failed", false)
		}
		return nil
	})
}

// bind gives every server its socket and refuses sockets that nobody wants: a
// client that connects to one would wait for ever.
func (m *machine) bind() error {
	var errs []error
	total := len(m.in.Sockets)
	for _, s := range m.app.servers {
		before := len(m.in.Sockets)
		if err := s.bind(&m.in, func(err error) { m.out.emit(Problem{err}) }); err != nil {
			errs = append(errs, err)
			continue
		}
		if s.http != nil {
			s.http.SetPace(m.opts.pace())
			s.http.SetLimits(m.opts.Limits)
		}
		m.out.emit(Listening{s.name, s.ln.Addr().String(), len(m.in.Sockets) < before})
	}
	for _, sock := range m.in.Sockets {
		err := fmt.Errorf("cannot use inherited socket %q: no server has that name; rename one of the %d sockets that were passed or the server", sock.Name, total)
		sock.File.Close()
		if m.in.Predecessor > 0 || m.link != nil && m.link.wasKept(sock.Name) {
			// The old version served it and this one does not: that is what an upgrade may do.
			m.out.emit(Problem{err})
			continue
		}
		errs = append(errs, err)
	}
	m.in.Sockets = nil
	if len(errs) == 0 {
		m.keepJournal()
	}
	if m.in.Solo == nil && slices.ContainsFunc(m.app.tasks, func(t task) bool { return t.solo }) {
		// Where it cannot be had there is no successor to exclude either.
		m.in.Solo, _ = handover.NewSoloLock()
	}
	return errors.Join(errs...)
}

// keepSockets gives those that this process has opened to the supervisor as
// well. One that cannot be kept is served all the same; the next generation will
// not find it.
func (m *machine) keepSockets(ctx context.Context) {
	if m.link == nil || m.in.Predecessor > 0 {
		return
	}
	for _, s := range m.app.servers {
		if !s.opened {
			continue
		}
		if err := m.link.keepSocket(ctx, s); err != nil {
			m.out.emit(Problem{err})
		}
	}
}

// awaitChecks runs all checks side by side, each until it passes.
func (m *machine) awaitChecks(ctx context.Context) error {
	return forEach(m.registeredChecks(), func(c named) error {
		pause := firstPause
		for {
			err := guard("check", func() error { return c.f(ctx) })
			if err == nil {
				return nil
			}
			m.out.emit(CheckFailed{c.name, err})
			select {
			case <-ctx.Done():
				return fmt.Errorf("cannot become ready: check %q does not pass (%w): %w", c.name, context.Cause(ctx), err)
			case <-time.After(pause):
				pause = min(2*pause, mostPause)
			}
		}
	})
}

// registeredChecks may be called at any time.
func (m *machine) registeredChecks() []named {
	m.app.mu.Lock()
	defer m.app.mu.Unlock()
	return m.app.checks[:len(m.app.checks):len(m.app.checks)]
}

// runChecks runs all checks side by side, once.
func runChecks(ctx context.Context, checks []named) error {
	return forEach(checks, func(c named) error {
		if err := guard("check", func() error { return c.f(ctx) }); err != nil {
			return fmt.Errorf("check %q: %w", c.name, err)
		}
		return nil
	})
}

// forEach runs f for all at once and joins their errors in order.
func forEach(all []named, f func(named) error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, n := range all {
		wg.Go(func() { errs[i] = f(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// guard turns a panic of the user's code into an error with its stack.
func guard(what string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s panicked: %v\n%s", what, p, debug.Stack())
		}
	}()
	return f()
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
