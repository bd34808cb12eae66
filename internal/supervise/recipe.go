package supervise

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"

	"github.com/segue-go/segue/client"
)

// recipe is what a generation is started with, and what a rollback goes back to.
type recipe struct {
	Config  Config            `json:"config"`
	Path    string            `json:"path"`    // where the program is looked for when a restart asks for nothing else
	Program string            `json:"program"` // the file that is executed: that at Path, or a copy of what was there
	Proven  client.Generation `json:"proven"`  // the first that has served with it; zero before
	Mark    string            `json:"mark"`    // of the file; see mark
	file    *executable       // that a generation was started from; nil before that, and when it cannot be read
}

// prepared is the recipe for c, with the program as it is now at path; "" is c's.
func prepared(c Config, path string) (recipe, error) {
	path, err := c.program(cmp.Or(path, c.Argv[0]))
	return recipe{Config: c, Path: path, Program: path}, err
}

// again is the recipe with the program as it was.
func (r recipe) again(home string) (recipe, error) {
	program := r.Program
	if r.file != nil {
		var err error
		if program, err = r.file.restore(home, r.Proven.Number); err != nil {
			return r, err
		}
	} else if info, err := os.Stat(program); err != nil || mark(info) != r.Mark {
		return r, fmt.Errorf("cannot bring back %s: another file has taken its place, and it could not be read before; let the supervisor's user read programs", program)
	}
	return recipe{Config: r.Config, Path: r.Path, Program: program}, nil
}

// same says whether two generations were started from the same file, alike.
func (r recipe) same(o recipe) bool {
	return r.Mark != "" && r.Mark == o.Mark && r.Program == o.Program && r.Config.startsLike(o.Config)
}

// startsLike says whether a generation of c would be started as one of o is:
// nothing in which they differ is a matter of the process.
func (c Config) startsLike(o Config) bool {
	return reflect.DeepEqual(c.ofProcess(), o.ofProcess())
}

// ofProcess is c without what only the supervisor acts upon.
func (c Config) ofProcess() Config {
	c.ReadyTimeout, c.Trial, c.Probation, c.DrainTimeout = 0, 0, 0, 0
	c.Probes, c.StopSignal, c.KillAfter = nil, 0, 0
	c.Restart, c.Expected, c.Backoff, c.Hooks = "", nil, Backoff{}, nil
	c.Logs = Logs{To: c.Logs.To}
	return c
}

// executable is the file of a program, held open: the next version is usually put
// in its place, and a rollback needs this one.
type executable struct {
	path string
	file *os.File
	info os.FileInfo
}

// mark tells a file from what takes its place.
func mark(info os.FileInfo) string {
	return fmt.Sprintf("%s %d %d", inode(info), info.Size(), info.ModTime().UnixNano())
}

// found is the file that r was started with, at the first of these paths where it is.
func (r recipe) found(paths ...string) *executable {
	for _, path := range paths {
		if e, err := openExecutable(path); err == nil {
			if mark(e.info) == r.Mark {
				e.path = r.Program
				return e
			}
			e.close()
		}
	}
	return nil
}

func openExecutable(path string) (*executable, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err // it may be executed, but not read
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &executable{path, f, info}, nil
}

// inPlace says whether the file is still what is found at its path.
func (e *executable) inPlace() bool {
	now, err := os.Stat(e.path)
	return err == nil && mark(now) == mark(e.info)
}

// restore is a path with the file: its own, or that of a copy in home.
func (e *executable) restore(home string, generation int) (path string, err error) {
	if e.inPlace() {
		return e.path, nil
	}
	if now, err := e.file.Stat(); err != nil || mark(now) != mark(e.info) {
		return "", fmt.Errorf("cannot bring back %s: it was written into, and what it was is gone; put a new version beside it and rename it (install, mv)", e.path)
	}
	path = filepath.Join(copies(home), strconv.Itoa(generation), filepath.Base(e.path))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	err = os.MkdirAll(filepath.Dir(path), 0o711)
	for _, dir := range []string{copies(home), filepath.Dir(path)} {
		err = errors.Join(err, os.Chmod(dir, 0o711)) // whatever the umask: the service's user is to find it
	}
	if err != nil {
		return "", fmt.Errorf("cannot bring back %s: %w", e.path, err)
	}
	unfinished := path + ".new"
	defer os.Remove(unfinished)
	out, err := os.OpenFile(unfinished, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, e.info.Mode().Perm())
	if err != nil {
		return "", fmt.Errorf("cannot bring back %s: %w", e.path, err)
	}
	_, err = io.Copy(out, io.NewSectionReader(e.file, 0, e.info.Size()))
	if err == nil {
		err = errors.Join(own(out, e.info), out.Chmod(e.info.Mode().Perm()))
	}
	if shut := out.Close(); err == nil {
		err = shut
	}
	if err == nil {
		err = os.Rename(unfinished, path)
	}
	if err != nil {
		return "", fmt.Errorf("cannot bring back %s: %w", e.path, err)
	}
	return path, nil
}

// copies is where programs are that were brought back, each in a directory of its own.
func copies(home string) string { return filepath.Join(home, "binaries") }

// prune removes the copies that are none of these programs.
func prune(home string, programs []string) {
	all, _ := filepath.Glob(filepath.Join(copies(home), "*"))
	for _, dir := range all {
		if !slices.ContainsFunc(programs, func(p string) bool { return filepath.Dir(p) == dir }) {
			os.RemoveAll(dir)
		}
	}
}

func (e *executable) close() {
	if e != nil {
		e.file.Close()
	}
}
