//go:build unix

package supervise

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRuntimeDirectoriesThatAreRefused: each error says why, and what to do, and
// nothing is opened or started.
func TestRuntimeDirectoriesThatAreRefused(t *testing.T) {
	const hint = "; choose a directory that you may write with SEGUE_RUNTIME_DIR"
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string) (use string)
		want    string
	}{
		"a file in its place": {func(t *testing.T, dir string) string {
			return write(t, dir)
		}, "cannot make the runtime directory "},
		"a file on the way": {func(t *testing.T, dir string) string {
			return filepath.Join(write(t, dir), "shop")
		}, "cannot make the runtime directory "},
		"no permission": {func(t *testing.T, dir string) string {
			if os.Geteuid() == 0 {
				return "/proc/self/shop" // where root may not either
			}
			mkdir(t, dir, 0o500)
			return filepath.Join(dir, "shop")
		}, "cannot make the runtime directory "},
		"a link": {func(t *testing.T, dir string) string { // others may point it elsewhere
			mkdir(t, dir+"-target", 0o700)
			if err := os.Symlink(dir+"-target", dir); err != nil {
				t.Fatal(err)
			}
			return dir
		}, ": it is not a directory"},
		"writable by the group": {func(t *testing.T, dir string) string {
			return mkdir(t, dir, 0o720)
		}, ": others may write in it (mode -rwx-w----)"},
		"writable by everybody": {func(t *testing.T, dir string) string {
			return mkdir(t, dir, 0o777|fs.ModeSticky)
		}, ": others may write in it (mode -rwxrwxrwx)"},
		"of another user": {func(t *testing.T, dir string) string {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a directory away")
			}
			mkdir(t, dir, 0o700)
			if err := os.Chown(dir, 65534, 65534); err != nil {
				t.Fatal(err)
			}
			return dir
		}, ": it belongs to user 65534"},
		"a lock that cannot be written": {func(t *testing.T, dir string) string {
			mkdir(t, dir, 0o700)
			mkdir(t, filepath.Join(dir, "lock"), 0o700)
			return dir
		}, "cannot write in the runtime directory "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := c.prepare(t, filepath.Join(t.TempDir(), "run"))
			web := filepath.Join(t.TempDir(), "web.sock")
			s, err := New(Config{
				Name: "shop", Argv: []string{os.Args[0]}, RuntimeDir: dir, ReadyTimeout: time.Second, DrainTimeout: time.Second,
				Listen: []Listen{{Name: "web", Addr: "unix:" + web}},
			})
			if err == nil {
				s.Close()
				t.Fatal("it was taken")
			}
			if text := err.Error(); !strings.Contains(text, c.want) || !strings.Contains(text, dir) || !strings.HasSuffix(text, hint) {
				t.Errorf("error %q, want %q and %q in it, and what to do", text, c.want, dir)
			}
			if _, err := os.Lstat(web); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a socket was opened: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 && filepath.Base(left[0]) != "lock" {
				t.Errorf("%q were made in it", left)
			}
		})
	}
}

// TestRuntimeDirectoryIsMade for this user alone, whatever the umask, and one
// that others may read is no danger.
func TestRuntimeDirectoryIsMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "shop")
	for range 2 { // the second time it is there already
		h, err := openHome("shop", dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openHome("shop", dir, nil); err == nil || !strings.Contains(err.Error(), "already; stop it with `segue stop --name shop`") {
			t.Errorf("a second one: %v", err)
		}
		for _, d := range []string{dir, filepath.Dir(dir)} {
			if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%s: %v, %v", d, info.Mode(), err)
			}
		}
		h.close()
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h, err := openHome("shop", dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.close()
}

func mkdir(t *testing.T, dir string, mode fs.FileMode) string {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, mode); err != nil { // the umask does not apply
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Other users are let through the runtime directories, and through nothing above them.
func TestPassable(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	base := filepath.Join(home, "run")
	dir := filepath.Join(base, "shop", "web")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SEGUE_RUNTIME_DIR", base)
	if err := passable(dir); err == nil || !strings.Contains(err.Error(), home+" is closed to others") {
		t.Error(err)
	}
	for path, want := range map[string]os.FileMode{home: 0o700, base: 0o711, dir: 0o711} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	os.Chmod(home, 0o711)
	if err := passable(dir); err != nil {
		t.Error(err)
	}
}
