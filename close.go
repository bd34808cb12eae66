package segue

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// forcedBudget replaces every longer budget once the leaving is forced.
const forcedBudget = time.Second

// close ends what setup made: tasks are joined, cleanups run in reverse. It is
// the loop's; the work is beside it.
func (m *machine) close(ctx context.Context) {
	m.abortStart(errors.New("the service leaves"))
	go m.async(func() error { return m.closeAll(ctx) }, func(err error) {
		if err != nil {
			m.errs = append(m.errs, err)
		}
		m.finish(ctx)
	})
}

func (m *machine) closeAll(ctx context.Context) error {
	// What a hung setup goes on to register is its own affair.
	var errs []error
	select {
	case <-m.startEnded:
	default:
		errs = append(errs, m.bounded(ctx, "end of the start", m.opts.TaskTimeout, func(ctx context.Context) error {
			select {
			case <-m.startEnded:
				return nil
			case <-ctx.Done(): // nobody says so any more once Run has returned
				return errors.New("setup or a check ignores the end of its context")
			}
		}))
	}
	if m.reloading.TryLock() {
		m.reloading.Unlock()
	} else { // a round under way ends before what it reads is cleaned up
		errs = append(errs, m.bounded(ctx, "reload", m.opts.TaskTimeout, func(context.Context) error {
			m.reloading.Lock()
			defer m.reloading.Unlock()
			return nil
		}))
	}
	m.tasks.stop()
	errs = append(errs, m.bounded(ctx, "tasks", m.opts.TaskTimeout, func(context.Context) error {
		m.tasks.wait()
		return nil
	}))
	m.app.mu.Lock()
	cleanups := m.app.cleanups
	m.app.mu.Unlock()
	for i := len(cleanups) - 1; i >= 0; i-- {
		c := cleanups[i]
		errs = append(errs, m.bounded(ctx, "cleanup "+c.name, m.opts.CleanupTimeout, c.f))
	}
	return errors.Join(errs...)
}

// bounded runs f and gives up on it when its budget ends: f's context ends
// then, and its goroutine is left behind with the process.
func (m *machine) bounded(ctx context.Context, name string, budget time.Duration, f func(context.Context) error) error {
	if ctx.Err() != nil {
		budget = min(budget, forcedBudget)
	}
	// Forcing shortens the wait that is under way as well.
	step, cancel := context.WithTimeout(context.WithoutCancel(ctx), budget)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(forcedBudget, cancel) })
	defer stop()
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- guard(name, func() error { return f(step) }) }()
	var err error
	select {
	case err = <-done:
	case <-step.Done():
		select {
		case err = <-done: // it had returned by then
		default:
			if budget == 0 {
				break // nobody wants to wait for it
			}
			err = fmt.Errorf("did not return within %v and was left behind", time.Since(began).Round(time.Millisecond))
		}
	}
	m.note(Step{Name: name, Took: time.Since(began), Budget: budget, Error: text(err)})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// finish writes the report, tells it to the supervisor and ends the loop.
func (m *machine) finish(ctx context.Context) {
	forced := errors.Is(context.Cause(ctx), ErrForced)
	if forced {
		m.errs = append(m.errs, ErrForced)
	}
	m.release()
	m.mu.Lock()
	m.report.Forced = forced
	m.report.Took = time.Since(m.leftAt)
	report := m.report
	m.mu.Unlock()
	m.out.emit(Reported{report})
	tell := func() error { return nil }
	if m.link != nil {
		tell = func() error { return m.link.report(report) }
	}
	go m.async(tell, func(error) { m.enter(closed, "") })
}

// release lets go of sockets and locks. When setup hangs still, the sockets are
// its, and end with the process.
func (m *machine) release() {
	select {
	case <-m.startEnded:
	default:
		return
	}
	for _, s := range m.app.servers {
		if s.gate != nil {
			s.gate.Close()
		}
		if !m.report.Successor {
			s.removePath(m.main.Load())
		}
	}
	if m.in.Solo != nil {
		m.in.Solo.Close()
	}
}
