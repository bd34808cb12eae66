package supervise

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// keepLogs is how many generations' output is kept.
const keepLogs = 20

// logs is the directory with one file of output for each generation. The
// generations write to it themselves.
type logs struct{ dir string }

func openLogs(home string) (logs, error) {
	l := logs{filepath.Join(home, "logs")}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return l, fmt.Errorf("cannot keep the output of the service: %w; choose a directory that you may write with SEGUE_RUNTIME_DIR", err)
	}
	return l, nil
}

func (l logs) path(generation int) string {
	return filepath.Join(l.dir, strconv.Itoa(generation)+".log")
}

// numbers are the generations with output, oldest first.
func (l logs) numbers() []int {
	entries, _ := os.ReadDir(l.dir)
	var all []int
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".log")
		if n, err := strconv.Atoi(name); ok && err == nil && n > 0 {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// create opens the file for a new generation and forgets old ones.
func (l logs) create(generation int) (*os.File, error) {
	all := l.numbers()
	for len(all) >= keepLogs {
		os.Remove(l.path(all[0]))
		all = all[1:]
	}
	// O_APPEND: the service and its children write at the end, whatever they do.
	f, err := os.OpenFile(l.path(generation), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		tryLock(f) // see survivor; a file system without locks has none
	}
	return f, err
}

// retire says that the generation that writes to f has ended in order. What it
// may have left running outside its process group is no generation.
func (l logs) retire(f *os.File) {
	unlock(f)
	f.Close()
}

// survivor is a generation that has outlived its supervisor, with the processes
// that have its output; 0 if there is none. The lock on a log belongs to the open
// file (flock(2)), which the generation shares: it ends with the last of the two.
func (l logs) survivor() (generation int, pids []int) {
	for _, n := range l.numbers() {
		f, err := os.Open(l.path(n))
		if err != nil {
			continue
		}
		free, err := tryLock(f)
		if !free && err == nil {
			pids = holders(f)
		}
		f.Close()
		if !free && err == nil {
			return n, pids
		}
	}
	return 0, nil
}

// holders are the processes that write to f, where /proc says so (proc(5)).
func holders(f *os.File) (pids []int) {
	want, err := f.Stat()
	if err != nil {
		return nil
	}
	outputs, _ := filepath.Glob("/proc/[0-9]*/fd/[12]")
	for _, o := range outputs {
		pid, _ := strconv.Atoi(strings.Split(o, "/")[2])
		if info, err := os.Stat(o); err == nil && os.SameFile(info, want) && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// find is the file of a generation; 0 is the newest.
func (l logs) find(generation int) (string, error) {
	all := l.numbers()
	switch {
	case len(all) == 0:
		return "", errors.New("cannot show logs: no generation has been started yet")
	case generation == 0:
		generation = all[len(all)-1]
	case !slices.Contains(all, generation):
		return "", fmt.Errorf("cannot show the log of generation %d: logs of generations %d to %d are kept", generation, all[0], all[len(all)-1])
	}
	return l.path(generation), nil
}

// tailSize bounds what tail reads.
const tailSize = 16 << 10

// tail is the last lines of a generation's output, for reports.
func (l logs) tail(generation, lines int) []string {
	f, err := os.Open(l.path(generation))
	if err != nil {
		return nil
	}
	defer f.Close()
	var start int64
	if info, err := f.Stat(); err == nil {
		start = max(0, info.Size()-tailSize)
	}
	buf := make([]byte, tailSize)
	n, _ := f.ReadAt(buf, start) // io.EOF, unless the file has grown meanwhile
	if n == 0 {
		return nil
	}
	all := strings.Split(strings.TrimRight(string(buf[:n]), "\n"), "\n")
	return all[max(0, len(all)-lines):]
}
