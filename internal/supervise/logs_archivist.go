package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/segue-go/segue/client"
)

// archivist bounds the logs of one service: what has become too much, or too old,
// goes from their heads into archives. It looks when there is output, and when
// output becomes old; otherwise it sleeps.
type archivist struct {
	logs    logs
	how     func() Logs // may change from look to look
	problem func(generation int, text string)
	changed chan struct{} // how has

	// Only run's.
	pace     time.Duration     // between two looks
	patience time.Duration     // after something went wrong
	since    map[int]time.Time // when a generation's log was first seen to have output that is not archived
	retry    time.Time         // nothing is archived before; zero when all is well
}

func newArchivist(l logs, how func() Logs, problem func(generation int, text string)) *archivist {
	return &archivist{
		logs: l, how: how, problem: problem, changed: make(chan struct{}, 1),
		pace: time.Second, patience: time.Minute, since: map[int]time.Time{},
	}
}

// configured says that the settings have changed. Any goroutine may.
func (a *archivist) configured() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// run works until ctx ends, or until it is clear that it never can. It is to be
// called once, by the supervisor that has locked the service's directory.
func (a *archivist) run(ctx context.Context) {
	a.logs.repair()
	watch, err := watchDir(a.logs.dir)
	if err != nil {
		a.problem(0, fmt.Sprintf("logs are archived late: %v", err))
	} else {
		defer watch.close()
	}
	for {
		var output <-chan struct{}
		if watch != nil {
			output, err = watch.arm()
		}
		due, failed := a.look(ctx)
		if errors.Is(failed, errors.ErrUnsupported) {
			return
		}
		if late := time.Now().Add(a.patience); err != nil && (due.IsZero() || due.After(late)) {
			due = late
		}
		if !a.sleep(ctx, output, due) {
			return
		}
		if watch != nil {
			watch.disarm(output) // what comes now is for the next look
		}
		if !a.sleep(ctx, nil, time.Now().Add(a.pace)) {
			return
		}
	}
}

// sleep waits for output, a time (zero for never) or other settings, and says
// whether to go on.
func (a *archivist) sleep(ctx context.Context, output <-chan struct{}, until time.Time) bool {
	var due <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until)) // by the monotonic clock: no jump reaches it
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-output:
	case <-due:
	case <-a.changed:
	}
	return true
}

// look archives what is to be archived, and returns when to look again if there
// is no output before; zero for never.
func (a *archivist) look(ctx context.Context) (due time.Time, err error) {
	if time.Now().Before(a.retry) {
		return a.retry, nil
	}
	how := a.how()
	how.Size = cmp.Or(how.Size, DefaultLogSize)
	since := map[int]time.Time{}
	for _, r := range a.logs.records() {
		left, bad := a.tend(ctx, r, how)
		if bad != nil && ctx.Err() == nil {
			a.failed(r.generation, bad)
			err = bad
		}
		if left == 0 {
			continue
		}
		if since[r.generation] = a.since[r.generation]; since[r.generation].IsZero() {
			since[r.generation] = time.Now()
		}
		if at := since[r.generation].Add(how.Age); how.Age > 0 && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	a.since = since
	if err != nil {
		return a.retry, err
	}
	a.retry = time.Time{}
	return due, nil
}

// failed tells of the first of several failures in a row.
func (a *archivist) failed(generation int, err error) {
	text := fmt.Sprintf("the log of generation %d is not archived, and grows: %v", generation, err)
	if errors.Is(err, errors.ErrUnsupported) {
		text += "; choose a directory on a file system that can free the middle of a file (ext4, XFS, Btrfs, tmpfs) with SEGUE_RUNTIME_DIR, or give the output to the journal"
	}
	if a.retry.IsZero() {
		a.problem(generation, text)
	}
	a.retry = time.Now().Add(a.patience)
}

// tend archives of one log what is to be, and returns how much is left.
func (a *archivist) tend(ctx context.Context, r record, how Logs) (left int64, err error) {
	path, archived := a.logs.path(r.generation), r.archived()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if left := info.Size() - archived; left == 0 || left > 0 && !a.wants(r.generation, left, how) {
		return left, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if info.Size() < archived {
		return 0, a.truncated(r.generation, f, archived)
	}
	from, end := beginning(f, archived), info.Size()
	for a.wants(r.generation, end-from, how) {
		delete(a.since, r.generation) // what is not archived now has come since
		to, err := a.logs.head(r.generation, f, from, end, how)
		if err == nil && to > from {
			err = a.logs.archive(ctx, r.generation, f, from, to, how)
		}
		if err != nil || to == from {
			return end - from, err
		}
		a.logs.trim(r.generation, how)
		if info, err = f.Stat(); err != nil {
			return 0, err
		}
		from, end = to, info.Size()
	}
	return end - from, nil
}

// wants says whether so much is too much, or too old.
func (a *archivist) wants(generation int, left int64, how Logs) bool {
	since := a.since[generation]
	old := how.Age > 0 && !since.IsZero() && time.Since(since) >= how.Age
	return how.Size > 0 && left > how.Size || old && left > 0
}

// truncated is for a log from which somebody has taken what the archives say is
// in them: a program that opens /dev/stdout anew can. What is written next is to
// come after that again.
func (a *archivist) truncated(generation int, f *os.File, archived int64) error {
	a.problem(generation, fmt.Sprintf("the log of generation %d was truncated by somebody; some of its output is lost", generation))
	_, err := f.WriteAt([]byte{'\n'}, archived-1) // in no descriptor's way, as ftruncate would be
	return err
}

// logging is how output is kept at present.
func (s *Service) logging() Logs {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view.config.Logs
}

func (s *Service) logProblem(generation int, text string) {
	s.bus.publish(client.Event{Kind: client.EventProblem, Generation: generation, Text: text})
}
