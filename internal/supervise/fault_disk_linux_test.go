package supervise_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/segue-go/segue/client"
)

// TestFullDisk: the disk with the runtime directory is full, of bytes or of files as
// well. Restarts, reloads and the adoption after a death work: the state is kept in the room
// that it had before.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a file system of its own needs root")
	}
	for _, of := range []string{"bytes", "files"} {
		t.Run(of, func(t *testing.T) {
			a := post(t, "a")
			o := build(t, a)
			o.onDisk(t)
			o.man("a")
			r, err := o.api.Restart(t.Context(), "a", client.RestartRequest{}, nil)
			outcome(t, r, err, client.Done)
			o.fill(of == "files")

			r, err = o.api.Restart(t.Context(), "a", client.RestartRequest{}, nil)
			outcome(t, r, err, client.Done)
			changed := a
			changed.Env = append(slices.Clone(a.Env), "OTHER=1")
			o.plan(changed)
			r, err = o.api.Reload(t.Context(), "", nil)
			if outcome(t, r, err, client.Done); len(r.Parts) != 1 {
				t.Errorf("%+v", r)
			}
			before, addr := o.pid("a"), o.address("a")
			o.kill()
			if pid := visitor(t, addr).get("/"); pid != fmt.Sprint(before) {
				t.Errorf("process %s serves, not %d", pid, before)
			}
			o.man("a")
			if now := o.pid("a"); now != before {
				t.Errorf("process %d serves, %d did before the supervisor died", now, before)
			}
			r, err = o.api.Restart(t.Context(), "a", client.RestartRequest{}, nil)
			outcome(t, r, err, client.Done)
			if said := o.said(0); strings.Contains(said, "cannot write down the state") {
				t.Errorf("the state is not kept:\n%s", said)
			}
		})
	}
}

// onDisk puts the outpost's directory on a small file system of its own. Its plan is
// elsewhere.
func (o *outpost) onDisk(t *testing.T) {
	t.Helper()
	plan := filepath.Join(o.dir, "plan.json")
	data, err := os.ReadFile(plan)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "plan.json")
	switch err := syscall.Mount("tmpfs", o.dir, "tmpfs", 0, "size=256k,nr_inodes=64,mode=700"); {
	case errors.Is(err, syscall.EPERM):
		t.Skip("SKIPPED: this root may not mount (a container without CAP_SYS_ADMIN)")
	case err != nil:
		t.Fatal(err)
	}
	dir := o.dir
	t.Cleanup(func() {
		for _, pid := range lineage(dir) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		o.cmd.Wait()
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	if err := errors.Join(os.WriteFile(elsewhere, data, 0o600), os.Symlink(elsewhere, plan)); err != nil {
		t.Fatal(err)
	}
}

// fill leaves no room on the outpost's disk: no block, and no inode either if files.
func (o *outpost) fill(files bool) {
	o.t.Helper()
	f, err := os.Create(filepath.Join(o.dir, "filler"))
	if err != nil {
		o.t.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	f.Close()
	if files {
		err = nil
	}
	for n := 0; err == nil; n++ {
		err = syscall.Mknod(filepath.Join(o.dir, fmt.Sprintf("filler-%d", n)), syscall.S_IFREG, 0)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		o.t.Fatal(err)
	}
}
