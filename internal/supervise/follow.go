package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/fsnotify/fsnotify"
)

// maxLine is the longest line that is kept whole: a longer one is written in
// pieces.
const maxLine = 1 << 20

// Follow writes the output of a generation to w, whole lines only; 0 is the
// newest. With follow it goes on until ctx, the generation or the service ends,
// and from 0 goes over to every later generation; label, if not nil, returns what
// stands before each line.
func (s *Service) Follow(ctx context.Context, generation int, follow bool, label func(generation int) string, w io.Writer) error {
	if !follow {
		path, err := s.logs.find(generation)
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("cannot show the log: %w", err)
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	}
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot follow the log: %w", err)
	}
	defer watch.Close()
	if err := watch.Add(s.logs.dir); err != nil {
		return fmt.Errorf("cannot follow the log: %w", err)
	}
	t := &tail{logs: s.logs, label: label, w: w, files: map[int]*os.File{}, rest: map[int][]byte{}}
	defer t.close()
	t.only = generation
	if all := s.logs.numbers(); generation == 0 && len(all) > 0 {
		t.from = all[len(all)-1]
	}
	events, cancel := s.Subscribe()
	defer cancel()
	ended := false
	for {
		over := ended || ctx.Err() != nil || generation != 0 && !s.alive(generation)
		if err := t.read(); err != nil {
			return err
		}
		if over { // what was written until then has been read
			return t.flush()
		}
		select {
		case <-ctx.Done():
		case _, ok := <-events: // the end of a generation, perhaps
			ended = !ok
		case _, ok := <-watch.Events:
			if !ok {
				return nil
			}
		case err := <-watch.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("cannot follow the log: %w", err)
			}
		}
	}
}

func (s *Service) alive(number int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.view.alive, func(g *generation) bool { return g.number == number })
}

// tail reads on in every file that concerns it.
type tail struct {
	logs  logs
	label func(int) string
	w     io.Writer
	only  int // 0: every generation from `from` on
	from  int
	files map[int]*os.File
	rest  map[int][]byte // the beginning of a line that is not complete
}

func (t *tail) read() error {
	kept := t.logs.numbers()
	for _, n := range kept {
		if t.only != 0 && n != t.only || n < t.from {
			continue
		}
		if t.files[n] == nil {
			f, err := os.Open(t.logs.path(n))
			if err != nil {
				continue // removed meanwhile
			}
			t.files[n] = f
		}
		if err := t.copy(n); err != nil {
			return err
		}
	}
	return t.forget(kept)
}

// forget lets go of logs that were removed: an open one takes a descriptor, and
// its room on the disk, for as long as somebody follows.
func (t *tail) forget(kept []int) error {
	for n, f := range t.files {
		if slices.Contains(kept, n) {
			continue
		}
		err := t.copy(n)
		f.Close()
		delete(t.files, n)
		if err == nil {
			err = t.complete(n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copy writes the complete lines that have come.
func (t *tail) copy(n int) error {
	buf := make([]byte, 64<<10)
	for {
		k, err := t.files[n].Read(buf)
		data := append(t.rest[n], buf[:k]...)
		for {
			end := bytes.IndexByte(data, '\n') + 1
			if end == 0 && len(data) < maxLine {
				break
			}
			if end == 0 {
				end = len(data)
			}
			line := data[:end]
			if t.label != nil {
				line = append([]byte(t.label(n)), line...)
			}
			if _, err := t.w.Write(line); err != nil {
				return err
			}
			data = data[end:]
		}
		t.rest[n] = bytes.Clone(data)
		if errors.Is(err, io.EOF) || k == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the log of generation %d: %w", n, err)
		}
	}
}

// flush writes lines that were never completed: a crash may end in one.
func (t *tail) flush() error {
	for n := range t.rest {
		if err := t.complete(n); err != nil {
			return err
		}
	}
	return nil
}

// complete is flush for one log.
func (t *tail) complete(n int) error {
	rest := t.rest[n]
	delete(t.rest, n)
	if len(rest) == 0 {
		return nil
	}
	if t.label != nil {
		rest = append([]byte(t.label(n)), rest...)
	}
	_, err := t.w.Write(append(rest, '\n'))
	return err
}

func (t *tail) close() {
	for _, f := range t.files {
		f.Close()
	}
}
