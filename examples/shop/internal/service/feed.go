// Package service holds what the shop does: it composes repository calls into
// operations, each of which is one transaction where it writes. It knows
// neither HTTP nor Gin.
package service

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Source is an append-only sequence in the database, with ids that grow in the
// order of commit.
type Source[T any] struct {
	After  func(ctx context.Context, after int64, limit int) ([]T, error)
	Newest func(ctx context.Context) (int64, error)
	ID     func(T) int64
}

const (
	feedWindow = 1024                   // entries kept in memory
	feedPage   = 256                    // entries handed to one reader at a time
	feedPoll   = 100 * time.Millisecond // other processes write too, and SQLite cannot tell us
	feedPause  = 10 * time.Millisecond  // at most this many reads of the database: a burst of writes is one read
)

// Feed lets many readers follow a Source while the database is asked once, not
// once per reader. While Run is not running, readers are served from the
// database and are woken by nobody: what they have missed they get with the
// next Next.
type Feed[T any] struct {
	src   Source[T]
	log   *slog.Logger
	nudge chan struct{}

	mu      sync.Mutex
	live    bool          // Run keeps window complete
	base    int64         // window holds every entry above base up to the newest known
	window  []T           // a slice handed out is never written again
	changed chan struct{} // closed when window grows
}

// NewFeed returns a feed of src. Run has to be run.
func NewFeed[T any](src Source[T], log *slog.Logger) *Feed[T] {
	return &Feed[T]{src: src, log: log, nudge: make(chan struct{}, 1), changed: make(chan struct{})}
}

// Nudge says that this process has committed an entry. It never blocks.
func (f *Feed[T]) Nudge() {
	select {
	case f.nudge <- struct{}{}:
	default:
	}
}

// Next returns what follows id after, at most a page. If that is nothing,
// changed is closed once there may be something. Changed is taken before the
// look, so an entry cannot fall between the two.
func (f *Feed[T]) Next(ctx context.Context, after int64) (items []T, changed <-chan struct{}, err error) {
	f.mu.Lock()
	changed = f.changed
	if f.live && after >= f.base {
		i, _ := slices.BinarySearchFunc(f.window, after+1, func(v T, id int64) int { return cmp.Compare(f.src.ID(v), id) })
		items = f.window[i:min(len(f.window), i+feedPage)]
		f.mu.Unlock()
		return items, changed, nil
	}
	f.mu.Unlock()
	items, err = f.src.After(ctx, after, feedPage)
	return items, changed, err
}

// Run follows the database until ctx ends. A failed read is logged and tried
// again: a feed that is late is better than a service that is gone.
func (f *Feed[T]) Run(ctx context.Context) error {
	newest, err := f.src.Newest(ctx)
	for err != nil {
		if !f.pause(ctx, err) {
			return nil
		}
		newest, err = f.src.Newest(ctx)
	}
	f.start(newest)
	defer f.stop()

	poll := time.NewTicker(feedPoll)
	defer poll.Stop()
	for {
		items, err := f.src.After(ctx, newest, feedWindow)
		if err != nil {
			if !f.pause(ctx, err) {
				return nil
			}
			continue
		}
		if len(items) > 0 {
			newest = f.src.ID(items[len(items)-1])
			f.publish(items)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(feedPause):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.nudge:
		case <-poll.C:
		}
	}
}

func (f *Feed[T]) pause(ctx context.Context, err error) (goOn bool) {
	if ctx.Err() == nil {
		f.log.WarnContext(ctx, "feed cannot read, trying again", "err", err)
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(feedPoll):
		return true
	}
}

// start wakes everybody: who read from the database before may have missed a change.
func (f *Feed[T]) start(newest int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live, f.base, f.window = true, newest, nil
	f.wake()
}

func (f *Feed[T]) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live, f.window = false, nil
	f.wake()
}

func (f *Feed[T]) publish(items []T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.window = append(f.window, items...)
	if extra := len(f.window) - feedWindow; extra > 0 {
		f.base = f.src.ID(f.window[extra-1])
		// A new array: the old one may be in the hands of readers.
		f.window = slices.Clone(f.window[extra:])
	}
	f.wake()
}

func (f *Feed[T]) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}
