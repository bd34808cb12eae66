package supervise

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// logs is the directory with what the generations have written: a file for each,
// N.log, to which the generation writes itself, and the archives of what stood at
// the head of that file.
type logs struct{ dir string }

// record is what there is of one generation.
type record struct {
	generation int
	archives   []archive // in order
}

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

// records is everything there is, oldest generation first.
func (l logs) records() []record {
	entries, _ := os.ReadDir(l.dir)
	of := map[int]*record{}
	for _, e := range entries {
		number, rest, ok := strings.Cut(e.Name(), ".log")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n <= 0 {
			continue
		}
		a, archived := parseArchive(rest)
		if rest != "" && !archived {
			continue
		}
		if of[n] == nil {
			of[n] = &record{generation: n}
		}
		if archived {
			a.path = filepath.Join(l.dir, e.Name())
			of[n].archives = append(of[n].archives, a)
		}
	}
	var all []record
	for _, r := range of {
		slices.SortFunc(r.archives, func(a, b archive) int { return cmp.Compare(a.to, b.to) })
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b record) int { return cmp.Compare(a.generation, b.generation) })
	return all
}

// record is what there is of one generation, perhaps nothing.
func (l logs) record(generation int) record {
	for _, r := range l.records() {
		if r.generation == generation {
			return r
		}
	}
	return record{generation: generation}
}

// archived is up to where it is.
func (r record) archived() int64 {
	if len(r.archives) == 0 {
		return 0
	}
	return r.archives[len(r.archives)-1].to
}

// numbers are the generations with output, oldest first.
func (l logs) numbers() []int {
	var all []int
	for _, r := range l.records() {
		all = append(all, r.generation)
	}
	return all
}

// forget removes the oldest generations until there are fewer than keep, beside
// those that live.
func (l logs) forget(keep int) {
	all := l.records()
	for len(all) >= max(keep, 1) {
		if r := all[0]; !l.held(r.generation) {
			for _, a := range r.archives {
				os.Remove(a.path)
			}
			os.Remove(l.path(r.generation)) // last: it is what makes the rest a generation's
		}
		all = all[1:]
	}
}

// create opens the file of a new generation.
func (l logs) create(generation int) (*os.File, error) {
	// O_APPEND: the service and its children write at the end, whatever they do.
	f, err := os.OpenFile(l.path(generation), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		tryLock(f) // see held; a file system without locks has none
	}
	return f, err
}

// held says whether a generation lives. The lock on a log belongs to the open
// file (flock(2)), which the generation shares with its supervisor: it ends with
// the last of the two.
func (l logs) held(generation int) bool {
	f, err := os.Open(l.path(generation))
	if err != nil {
		return false
	}
	defer f.Close()
	free, err := tryLock(f)
	return !free && err == nil
}

// survivor is a generation that has outlived its supervisor, with the processes
// that have its output; 0 if there is none. It knows only of generations whose
// output goes to a file.
func (l logs) survivor() (generation int, pids []int) {
	for _, n := range l.numbers() {
		if l.held(n) {
			return n, holders(l.path(n))
		}
	}
	return 0, nil
}

// holders are the processes that write to a file, where /proc says so (proc(5)).
func holders(path string) (pids []int) {
	want, err := os.Stat(path)
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

// find is the number of a generation whose output is kept; 0 is the newest.
func (l logs) find(generation int) (int, error) {
	all := l.numbers()
	switch {
	case len(all) == 0:
		return 0, errors.New("cannot show logs: no generation has been started yet")
	case generation == 0:
		return all[len(all)-1], nil
	case !slices.Contains(all, generation):
		return 0, fmt.Errorf("cannot show the log of generation %d: logs of generations %d to %d are kept", generation, all[0], all[len(all)-1])
	}
	return generation, nil
}

// size is how much a generation has written.
func (l logs) size(generation int) int64 {
	info, err := os.Stat(l.path(generation))
	if err != nil {
		return 0
	}
	return info.Size()
}
