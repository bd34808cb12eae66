package supervise

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// archive is a copy of the bytes from..to of a log, which are freed in the log
// itself. The name says which, so that it alone is the memory of what was done:
// N.log.FROM-TO, with .gz when it is compressed.
type archive struct {
	from, to int64
	path     string
}

// parseArchive reads what follows N.log in a name.
func parseArchive(rest string) (a archive, ok bool) {
	from, to, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(rest, "."), ".gz"), "-")
	if !ok || !strings.HasPrefix(rest, ".") {
		return a, false
	}
	var bad1, bad2 error
	a.from, bad1 = strconv.ParseInt(from, 10, 64)
	a.to, bad2 = strconv.ParseInt(to, 10, 64)
	return a, bad1 == nil && bad2 == nil && 0 <= a.from && a.from < a.to
}

// archivePath has the offsets in twelve digits: the order of names is theirs.
func (l logs) archivePath(generation int, from, to int64, how Logs) string {
	path := fmt.Sprintf("%s.%012d-%012d", l.path(generation), from, to)
	if how.Plain {
		return path
	}
	return path + ".gz"
}

// unfinished is an archive that is being written.
func (l logs) unfinished(generation int) string { return l.path(generation) + ".new" }

// open reads what is in the archive.
func (a archive) open() (io.ReadCloser, error) {
	f, err := os.Open(a.path)
	if err != nil || !strings.HasSuffix(a.path, ".gz") {
		return f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", a.path, err)
	}
	return packed{z, f}, nil
}

type packed struct {
	*gzip.Reader
	f *os.File
}

func (p packed) Close() error { return p.f.Close() }

// archive copies from..to of the log f, and frees everything before to in f. It
// may end anywhere and be done again: until the archive has its name nothing has
// happened, and from then on to is where the log begins.
func (l logs) archive(ctx context.Context, generation int, f *os.File, from, to int64, how Logs) error {
	unfinished := l.unfinished(generation)
	defer os.Remove(unfinished)
	out, err := os.OpenFile(unfinished, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := punch(out, 1); err != nil { // nothing is archived that could not be freed
		return err
	}
	if err := pack(ctx, out, io.NewSectionReader(f, from, to-from), how); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	if err := os.Rename(unfinished, l.archivePath(generation, from, to, how)); err != nil {
		return err
	}
	if err := syncDir(l.dir); err != nil {
		return err
	}
	return punch(f, to)
}

// pack copies all of in.
func pack(ctx context.Context, out io.Writer, in *io.SectionReader, how Logs) error {
	w, finish := out, func() error { return nil }
	if !how.Plain {
		z, err := gzip.NewWriterLevel(out, gzip.BestSpeed) // the service wants the processor as well
		if err != nil {
			return err
		}
		w, finish = z, z.Close
	}
	var done int64
	for done < in.Size() {
		n, err := io.CopyN(w, in, min(1<<20, in.Size()-done))
		done += n
		if err == nil {
			err = context.Cause(ctx)
		}
		if errors.Is(err, io.EOF) {
			err = errors.New("it was truncated meanwhile")
		}
		if err != nil {
			return err
		}
	}
	return finish()
}

// syncDir: a new name is on the disk when its directory is (fsync(2)).
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// beginning is where the output in f begins of which everything before archived
// is in archives. Usually there; later when somebody has removed archives.
func beginning(f *os.File, archived int64) int64 {
	at := dataFrom(f, archived)
	if at == archived {
		return at
	}
	// The block that is not free as a whole begins with zeros.
	block := make([]byte, 64<<10)
	n, _ := f.ReadAt(block, at)
	return at + int64(n-len(bytes.TrimLeft(block[:n], "\x00")))
}

// completeLines is where the complete lines end that f has in from..end; from if there is
// none. Of a line that is longer than any may be, its beginning is one.
func completeLines(f io.ReaderAt, from, end int64) (int64, error) {
	buf := make([]byte, min(64<<10, end-from))
	for high := end; high > from; {
		low := max(from, high-int64(len(buf)))
		n, err := f.ReadAt(buf[:high-low], low)
		if int64(n) < high-low {
			return from, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return low + int64(i) + 1, nil
		}
		high = low
	}
	if end-from >= maxLine {
		return end, nil
	}
	return from, nil
}

// head is where the next archive of f ends, which has from..end: with a complete
// line, unless there will be no more. from if there is nothing to archive yet.
func (l logs) head(generation int, f *os.File, from, end int64, how Logs) (int64, error) {
	to := end
	if how.Size > 0 {
		to = min(end, from+max(how.Size, maxLine))
	}
	if to == end && !l.held(generation) {
		return end, nil
	}
	return completeLines(f, from, to)
}

// repair completes what a supervisor that was killed has left: it removes archives
// without a name, and frees what stands in the others.
func (l logs) repair() {
	for _, r := range l.records() {
		os.Remove(l.unfinished(r.generation))
		if len(r.archives) == 0 {
			continue
		}
		if f, err := os.OpenFile(l.path(r.generation), os.O_RDWR, 0); err == nil {
			punch(f, r.archived())
			f.Close()
		}
	}
}

// trim removes the oldest archives of a generation.
func (l logs) trim(generation int, how Logs) {
	all := l.record(generation).archives
	slices.Reverse(all)
	for i, a := range all {
		if i >= cmp.Or(how.Keep, DefaultLogKeep) {
			os.Remove(a.path)
		}
	}
}
