package supervise

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// reader reads the output of one generation as one stream, from wherever it is:
// archives, then the log itself, also while the one becomes the other.
type reader struct {
	logs       logs
	generation int
	pos        int64 // of the next byte
	lost       int64 // bytes that were removed before they could be read
	log        *os.File
	in         io.ReaderAt   // the log
	archive    io.ReadCloser // that is being read; nil when it is the log
	until      int64         // the archive goes
}

// reader begins with the oldest output that is kept. An error says that the
// generation has no log.
func (l logs) reader(generation int) (*reader, error) {
	f, err := os.Open(l.path(generation))
	if err != nil {
		return nil, err
	}
	r := &reader{logs: l, generation: generation, log: f, in: f}
	if a := l.record(generation).archives; len(a) > 0 {
		r.pos = a[0].from
	} else {
		r.pos = beginning(f, 0)
	}
	return r, nil
}

// size is where the output ends at present.
func (r *reader) size() int64 {
	info, err := r.log.Stat()
	if err != nil {
		return r.pos
	}
	return info.Size()
}

// Read returns io.EOF when there is no more at present.
func (r *reader) Read(buf []byte) (int, error) {
	for {
		if r.archive != nil {
			n, err := r.archive.Read(buf)
			if r.pos += int64(n); n > 0 {
				return n, nil
			}
			if err != io.EOF {
				return 0, err
			}
			r.leave()
			continue
		}
		if a := r.logs.record(r.generation).after(r.pos); a != nil {
			if err := r.enter(*a); err != nil {
				return 0, err
			}
			continue
		}
		n, err := r.in.ReadAt(buf, r.pos)
		if n == 0 {
			if err == io.EOF && r.size() < r.pos {
				r.pos = r.logs.record(r.generation).archived() // somebody has truncated it
				return 0, io.EOF
			}
			return 0, err
		}
		// An archive has its name before its bytes are freed: without one these were
		// there when they were read.
		if r.logs.record(r.generation).after(r.pos) != nil {
			continue
		}
		if buf[0] == 0 {
			if at := beginning(r.log, r.pos); at > r.pos { // its archives were removed
				r.skip(at)
				continue
			}
		}
		r.pos += int64(n)
		return n, nil
	}
}

// after is the archive with pos, or the next one; nil when pos is not archived.
func (r record) after(pos int64) *archive {
	for i := range r.archives {
		if r.archives[i].to > pos {
			return &r.archives[i]
		}
	}
	return nil
}

// enter goes to pos in a. If a has been removed meanwhile nothing happens.
func (r *reader) enter(a archive) error {
	in, err := a.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r.skip(max(r.pos, a.from))
	if _, err := io.CopyN(io.Discard, in, r.pos-a.from); err != nil {
		in.Close()
		return fmt.Errorf("%s: %w", a.path, err)
	}
	r.archive, r.until = in, a.to
	return nil
}

func (r *reader) leave() {
	r.archive.Close()
	r.archive = nil
	r.skip(max(r.pos, r.until))
}

// skip goes over what is not there.
func (r *reader) skip(to int64) {
	r.lost += to - r.pos
	r.pos = to
}

func (r *reader) close() {
	if r.archive != nil {
		r.archive.Close()
	}
	r.log.Close()
}

// tailSize bounds what tail returns.
const tailSize = 16 << 10

// tail is the last lines of a generation's output, for reports.
func (l logs) tail(generation, count int) []string {
	r, err := l.reader(generation)
	if err != nil {
		return nil
	}
	defer r.close()
	r.pos = max(r.pos, r.size()-tailSize)
	data, _ := io.ReadAll(io.LimitReader(r, tailSize))
	if len(data) == 0 {
		return nil
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return all[max(0, len(all)-count):]
}
