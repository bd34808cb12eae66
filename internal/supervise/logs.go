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
		return l, fmt.Errorf("cannot keep the output of the service: %w", err)
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
	return os.OpenFile(l.path(generation), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
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
