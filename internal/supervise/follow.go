package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/segue-go/segue/client"
)

// maxLine is the longest line that is kept whole: a longer one becomes several.
const maxLine = 1 << 20

// glance is the least time between two looks at what comes: a service that writes
// all the time is read in larger pieces.
const glance = 10 * time.Millisecond

// FromHere is for Follow: every generation that this supervisor starts, and what
// those that it has taken over write from then on.
const FromHere = -1

// Follow writes the output of a generation to w; 0 is the newest. Every Write is
// of whole lines of one generation, so that a mutex around w is all that several
// Follows to one w need. With follow it goes on until ctx, the generation or the
// service ends, and from 0 goes over to every later generation; label, if not nil,
// returns what stands before each line.
func (s *Service) Follow(ctx context.Context, generation int, follow bool, label func(generation int) string, w io.Writer) error {
	if !follow {
		return s.logs.write(generation, label, w)
	}
	from := 0
	if all := s.logs.numbers(); generation == 0 && len(all) > 0 {
		from = all[len(all)-1]
	}
	var seen map[int]int64
	if generation == FromHere {
		from, seen, generation = s.first, s.seen, 0
	}
	t := s.logs.tailOf(generation, label, w)
	t.seen = seen
	defer t.close()
	t.from = from
	events, cancel := s.bus.listen(s.name, 2) // it looks again when there was one
	defer cancel()
	return t.follow(ctx, events, func() bool { return generation != 0 && !s.alive(generation) })
}

// write is Follow of what there is already.
func (l logs) write(generation int, label func(generation int) string, w io.Writer) error {
	generation, err := l.find(generation)
	if err != nil {
		return err
	}
	t := l.tailOf(generation, label, w)
	defer t.close()
	return errors.Join(t.read(), t.flush())
}

func (s *Service) alive(number int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.view.alive, func(g *generation) bool { return g.number == number })
}

// tail reads on in every log that concerns it.
type tail struct {
	logs  logs
	w     io.Writer
	label func(int) string
	only  int // 0: every generation from `from` on
	from  int
	seen  map[int]int64 // where to begin in the log of a generation, if it is not at the beginning
	open  map[int]*lineReader
}

// pieces are the buffers of all who read at the moment: most logs are quiet.
var pieces = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// follow reads on until ctx or the events end, or over says so; it is asked again
// when there was an event.
func (t *tail) follow(ctx context.Context, events <-chan client.Event, over func() bool) error {
	watch, err := watchDir(t.logs.dir)
	if err != nil {
		return fmt.Errorf("cannot follow the log: %w", err)
	}
	defer watch.close()
	ended := false
	for {
		last := ended || ctx.Err() != nil || over()
		output, err := watch.arm()
		if err != nil && !last {
			return fmt.Errorf("cannot follow the log: %w", err)
		}
		began := time.Now()
		err = t.read()
		if err == nil && !last {
			select {
			case <-ctx.Done():
			case _, ok := <-events: // the end of a generation, perhaps
				ended = !ok
			case <-output:
			}
			pause(ctx, glance-time.Since(began))
		}
		watch.disarm(output)
		if err != nil {
			return err
		}
		if last { // what was written until then has been read
			return t.flush()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// read writes the complete lines that have come until now.
func (t *tail) read() error {
	kept := t.logs.numbers()
	for _, n := range kept {
		if t.only != 0 && n != t.only || n < t.from {
			continue
		}
		if t.open[n] == nil {
			r, err := t.logs.reader(n)
			if err != nil {
				continue // removed meanwhile
			}
			r.pos = max(r.pos, t.seen[n])
			t.open[n] = &lineReader{reader: r}
		}
		if err := t.copy(t.open[n]); err != nil {
			return err
		}
	}
	return t.forget(kept)
}

// forget lets go of logs that were removed: an open one takes a descriptor, and
// its room on the disk, for as long as somebody follows.
func (t *tail) forget(kept []int) error {
	for n, l := range t.open {
		if slices.Contains(kept, n) {
			continue
		}
		err := errors.Join(t.copy(l), t.complete(l))
		l.close()
		delete(t.open, n)
		if err != nil {
			return err
		}
	}
	return nil
}

// flush writes lines that were never completed: a crash may end in one.
func (t *tail) flush() error {
	for _, l := range t.open {
		if err := t.complete(l); err != nil {
			return err
		}
	}
	return nil
}

func (l logs) tailOf(generation int, label func(int) string, w io.Writer) *tail {
	return &tail{logs: l, w: w, label: label, only: generation, open: map[int]*lineReader{}}
}

func (t *tail) close() {
	for _, l := range t.open {
		l.close()
	}
}

// lineReader is a log with the beginning of a line that is not complete.
type lineReader struct {
	*reader
	rest []byte
}

// copy writes the complete lines that are there now; of what comes meanwhile the
// next copy learns, so that no log keeps the others waiting.
func (t *tail) copy(l *lineReader) error {
	end := l.size()
	if l.pos >= end {
		return nil
	}
	piece := pieces.Get().(*[]byte)
	defer pieces.Put(piece)
	for l.pos < end {
		n, err := l.Read(*piece)
		if l.lost > 0 {
			note := fmt.Appendf(nil, "segue: %d bytes of output were removed before they were read\n", l.lost)
			if err := errors.Join(t.complete(l), t.write(l, note)); err != nil {
				return err
			}
			l.lost = 0
		}
		l.rest = append(l.rest, (*piece)[:n]...)
		if complete := bytes.LastIndexByte(l.rest, '\n') + 1; complete > 0 {
			err := t.write(l, l.rest[:complete])
			l.rest = slices.Delete(l.rest, 0, complete)
			if err != nil {
				return err
			}
		} else if len(l.rest) >= maxLine {
			if err := t.complete(l); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the log of generation %d: %w", l.generation, err)
		}
	}
	return nil
}

// complete writes the incomplete line as a line.
func (t *tail) complete(l *lineReader) error {
	if len(l.rest) == 0 {
		return nil
	}
	line := append(l.rest, '\n')
	l.rest = nil
	return t.write(l, line)
}

// write writes whole lines, labelled.
func (t *tail) write(l *lineReader, lines []byte) error {
	if t.label != nil {
		label := []byte(t.label(l.generation))
		labelled := make([]byte, 0, len(lines)+len(label)*bytes.Count(lines, []byte{'\n'}))
		for line := range bytes.Lines(lines) {
			labelled = append(append(labelled, label...), line...)
		}
		lines = labelled
	}
	_, err := t.w.Write(lines)
	return err
}
