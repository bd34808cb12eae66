package supervise

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// RuntimeDir is where supervisors keep their sockets, one directory a service:
// $SEGUE_RUNTIME_DIR, else $XDG_RUNTIME_DIR/segue, else /run/segue for root,
// else segue-UID in the directory for temporary files.
func RuntimeDir() string {
	if d := os.Getenv("SEGUE_RUNTIME_DIR"); d != "" {
		return d
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "segue")
	}
	if os.Geteuid() == 0 {
		return "/run/segue"
	}
	return filepath.Join(os.TempDir(), "segue-"+strconv.Itoa(os.Getuid()))
}

// APISocket is where the supervisor with the runtime directory dir answers.
func APISocket(dir string) string { return filepath.Join(dir, "api.sock") }

func controlSocket(dir string) string { return filepath.Join(dir, "control.sock") }
func notifySocket(dir string) string  { return filepath.Join(dir, "notify.sock") }

// home is the directory of one service, locked by its supervisor. The lock, not
// the presence of a file, says whether one lives: what a dead one left is taken
// over.
type home struct {
	dir  string
	lock *os.File
}

// lockPatience is for a supervisor that was killed this very moment: its locks go
// when the kernel has taken its memory back.
const lockPatience = 500 * time.Millisecond

// openHome makes the directory, for this user only, and takes its lock, unless it
// has that from the program that was executed before: left.
func openHome(name, dir string, left *os.File) (*home, error) {
	hint := "choose a directory that you may write with SEGUE_RUNTIME_DIR"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the runtime directory %s: %w; %s", dir, err, hint)
	}
	// In a directory for temporary files somebody else may have been first.
	if err := ownedAlone(dir); err != nil {
		return nil, fmt.Errorf("cannot use the runtime directory %s: %w; %s", dir, err, hint)
	}
	if left != nil {
		return &home{dir, left}, nil
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot write in the runtime directory %s: %w; %s", dir, err, hint)
	}
	ok, err := tryLock(f)
	for late := time.Now().Add(lockPatience); err == nil && !ok && time.Now().Before(late); ok, err = tryLock(f) {
		time.Sleep(lockPatience / 20)
	}
	if err != nil || !ok {
		pid, _ := os.ReadFile(path)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		return nil, fmt.Errorf("cannot supervise %q: process %s does already; stop it with `segue stop --name %s`, or choose another --name",
			name, strings.TrimSpace(string(pid)), name)
	}
	// In this order: whoever comes meanwhile reads a number.
	pidLine := strconv.Itoa(os.Getpid()) + "\n"
	err = errors.Join(writeAt(f, pidLine), f.Truncate(int64(len(pidLine))))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot write in the runtime directory %s: %w; %s", dir, err, hint)
	}
	return &home{dir, f}, nil
}

// passable lets other users through dir, and through those above it that are ours,
// to what is theirs. They see no names. What is above all runtime directories is not
// for it to open: it may be somebody's home.
func passable(dir string) error {
	base := RuntimeDir()
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o011 == 0o011 || !ours(info) {
			return err
		}
		if strings.HasPrefix(base, dir+string(filepath.Separator)) {
			return fmt.Errorf("%s is closed to others (mode %v); set SEGUE_RUNTIME_DIR to a directory that they can get to", dir, info.Mode().Perm())
		}
		if err := os.Chmod(dir, info.Mode().Perm()|0o011); err != nil {
			return err
		}
		dir = filepath.Dir(dir)
	}
}

// check says whether the directory is still there with this supervisor's lock: a
// generation that is started now looks for its sockets in it, and could not say
// that it is ready.
func (h *home) check() error {
	there, err := os.Stat(filepath.Join(h.dir, "lock"))
	if err == nil {
		var ours os.FileInfo
		if ours, err = h.lock.Stat(); err == nil && !os.SameFile(there, ours) {
			err = errors.New("another supervisor has taken its place")
		}
	}
	if err != nil {
		return fmt.Errorf("cannot start a generation: the runtime directory %s is gone (%w); start the supervisor anew", h.dir, err)
	}
	return nil
}

// survived refuses to start a service a second time: its supervisor was killed,
// and it serves still.
func survived(name string, generation int, pids []int) error {
	who, how := "", "end it"
	if len(pids) > 0 {
		list := strings.Trim(fmt.Sprint(pids), "[]")
		who, how = " (process "+list+")", "`kill "+list+"` ends it in order"
	}
	return fmt.Errorf("cannot supervise %q: generation %d%s runs still, though its supervisor is gone; %s", name, generation, who, how)
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

// close gives the directory up. Logs stay.
func (h *home) close() { h.lock.Close() }
