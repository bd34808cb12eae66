package segue

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/segue-go/segue/handover"
)

// tasks runs what was registered with Go and Solo. Its methods but wait are for
// the loop.
type tasks struct {
	all  group
	solo group
}

// group is the tasks that end together.
type group struct {
	started bool
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func (g *group) begin() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	g.started, g.cancel = true, cancel
	return ctx
}

func (g *group) stop() {
	if g.cancel != nil {
		g.cancel()
	}
}

// start starts the tasks that every generation runs.
func (t *tasks) start(m *machine) {
	ctx := t.all.begin()
	for _, task := range m.app.tasks {
		if !task.solo {
			t.all.running.Go(func() { m.runTask(ctx, task.named) })
		}
	}
}

// startSolo starts the solo tasks once the lock is had, on the first OPEN.
func (t *tasks) startSolo(m *machine) {
	var solo []named
	for _, task := range m.app.tasks {
		if task.solo {
			solo = append(solo, task.named)
		}
	}
	if t.solo.started || len(solo) == 0 {
		return
	}
	ctx := t.solo.begin()
	lock := m.in.Solo
	t.solo.running.Go(func() {
		if lock == nil { // nobody else can run them: nothing to exclude
			m.runTasks(ctx, solo)
			return
		}
		held, err := handover.AcquireSolo(ctx, lock)
		if err != nil {
			if ctx.Err() == nil {
				m.out.emit(Problem{err})
			}
			return
		}
		defer held.Release()
		m.runTasks(ctx, solo)
	})
}

// stop asks every task to return.
func (t *tasks) stop() { t.solo.stop(); t.all.stop() }

// wait returns when all tasks have.
func (t *tasks) wait() { t.solo.running.Wait(); t.all.running.Wait() }

func (m *machine) runTasks(ctx context.Context, all []named) {
	var wg sync.WaitGroup
	for _, n := range all {
		wg.Go(func() { m.runTask(ctx, n) })
	}
	wg.Wait()
}

// runTask reports a task that ends by itself. An error ends the service: a
// generation without its relay, say, is not one that should serve.
func (m *machine) runTask(ctx context.Context, n named) {
	err := guard("task", func() error { return n.f(ctx) })
	if ctx.Err() != nil {
		if err != nil && !errors.Is(err, context.Canceled) {
			m.out.emit(TaskEnded{n.name, err})
		}
		return
	}
	m.out.emit(TaskEnded{n.name, err})
	if err != nil {
		err = fmt.Errorf("task %q failed: %w", n.name, err)
		go m.do(func() error {
			if m.phase < Draining {
				m.fail(err)
				m.leave(err.Error(), false)
			}
			return nil
		})
	}
}
