package supervise_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
)

// program writes a script that says which it is, and stays.
func program(t *testing.T, path, version string) {
	t.Helper()
	text := "#!/bin/sh\necho " + version + "\nwhile :; do sleep 0.1; done\n"
	if err := os.WriteFile(path+".new", []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// written is what the newest generation of an instance has written.
func written(dir, instance string) string {
	files, _ := filepath.Glob(filepath.Join(dir, instance, "logs", "*.log"))
	slices.SortFunc(files, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
	if len(files) == 0 {
		return ""
	}
	text, _ := os.ReadFile(files[len(files)-1])
	return strings.TrimSpace(string(text))
}

func scripted(t *testing.T, path string) supervise.Member {
	m := tenant(t, "a", "TEST_OUTPOST=")
	m.Argv, m.Speaks, m.Listen, m.Probes = []string{path}, supervise.SpeaksNothing, nil, nil
	m.DrainTimeout = 100 * time.Millisecond
	return m
}

// TestRollbackOfAScript that was taken over: its process is an interpreter's.
func TestRollbackOfAScript(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	program(t, path, "first")
	o := build(t, scripted(t, path))
	o.man("a")
	o.kill()
	o.man("a")
	program(t, path, "second")
	for _, step := range []struct {
		do   func(context.Context) (client.Report, error)
		want string
	}{
		{func(ctx context.Context) (client.Report, error) {
			return o.api.Restart(ctx, "a", client.RestartRequest{}, nil)
		}, "second"},
		{func(ctx context.Context) (client.Report, error) { return o.api.Rollback(ctx, "a", nil) }, "first"},
	} {
		r, err := step.do(t.Context())
		if outcome(t, r, err, client.Done); written(o.dir, "a") != step.want {
			t.Errorf("%s runs after %s", written(o.dir, "a"), r.Action)
		}
	}
}

// TestRollbackOfWhatWasOverwritten: nobody has the file any more that was written
// into, and what is in it now is not what is asked for.
func TestRollbackOfWhatWasOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	program(t, path, "first")
	h := open(t, scripted(t, path))
	h.becomes(client.Serving, "a")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho second, which is longer\nwhile :; do sleep 0.1; done\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := h.Restart(context.Background(), "a", client.RestartRequest{})
	outcome(t, r, err, client.Done)
	if r, err := h.Rollback(context.Background(), "a"); err == nil || !strings.Contains(err.Error(), "written into") {
		t.Errorf("%+v, %v", r, err)
	}
	if got := written(h.plan.Dir, "a"); got != "second, which is longer" || h.status("a").State != client.Serving {
		t.Errorf("%q, %+v", got, h.status("a"))
	}
}

// TestRollbackForAnotherUser: the copy is his, as the file was.
func TestRollbackForAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may run it as another user")
	}
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	os.Chmod(filepath.Dir(dir), 0o711)
	os.Chmod(dir, 0o755)
	path := filepath.Join(dir, "program")
	theirs := func(version string) {
		program(t, path, version)
		if err := os.Chmod(path, 0o500); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	theirs("first")
	m := scripted(t, path)
	m.User = "nobody"
	h := open(t, m)
	h.becomes(client.Serving, "a")
	for n := range 3 {
		theirs(fmt.Sprint("version ", n))
		r, err := h.Restart(context.Background(), "a", client.RestartRequest{})
		outcome(t, r, err, client.Done)
		r, err = h.Rollback(context.Background(), "a")
		if outcome(t, r, err, client.Done); written(h.plan.Dir, "a") != "first" {
			t.Errorf("%s runs", written(h.plan.Dir, "a"))
		}
	}
	copies, _ := filepath.Glob(filepath.Join(h.plan.Dir, "a", "binaries", "*", "*"))
	if len(copies) > 2 {
		t.Errorf("copies of two programs are wanted: %v", copies)
	}
}
