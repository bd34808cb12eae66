package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/supervise"
)

// TestFullDiskOfTheService: the new version keeps its state on a disk that is
// full. It cannot start, and nothing is lost.
func TestFullDiskOfTheService(t *testing.T) {
	r, s := supervised(t)
	disk := filepath.Join(r.dir, "full")
	smallDisk(t, disk)
	fill(t, disk)
	old := r.who()
	run := r.traffic()
	r.fault("full")
	began := time.Now()
	report, err := s.Restart(context.Background(), client.RestartRequest{})
	if err != nil {
		t.Fatal(err)
	}
	r.rolledBack("full disk", report, handover.StepReady, "exited with status 1")
	if output := strings.Join(report.Output, "\n"); !strings.Contains(output, syscall.ENOSPC.Error()) {
		t.Errorf("the report does not show why: %s", output)
	}
	r.flow(run)
	r.met(run, "full disk", began, r.began(report, handover.StepRollback))
	if now := r.who(); now.PID != old.PID {
		t.Errorf("process %d serves, not %d", now.PID, old.PID)
	}
	if err := r.account(run).Err(); err != nil {
		t.Error(err)
	}
}

// TestFullDiskOfTheSupervisor: the disk with the runtime directory becomes full.
// Restarts work; what cannot be kept is said.
func TestFullDiskOfTheSupervisor(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "run")
	smallDisk(t, disk)
	r, s := supervised(t, func(c *supervise.Config) { c.RuntimeDir = disk })
	events, unsubscribe := s.Subscribe()
	defer unsubscribe()
	run := r.traffic()
	fill(t, disk)
	began := time.Now()
	report, err := s.Restart(context.Background(), client.RestartRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if report.Outcome != client.Done {
		t.Fatalf("%+v", report)
	}
	await(t, events, func(e client.Event) bool {
		return e.Kind == client.EventProblem && strings.Contains(e.Text, fmt.Sprintf("the output of generation %d is not kept", report.To.Number))
	})
	r.met(run, "full disk", began, r.began(report, handover.StepSwitch))
	r.check(report.From, report.To)
	r.flow(run)
	if err := r.account(run).Err(); err != nil {
		t.Error(err)
	}
}

// smallDisk is an empty file system at dir, gone when the test ends.
func smallDisk(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a file system of its own needs root")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,nr_inodes=64,mode=700"); err != nil {
		if errors.Is(err, syscall.EPERM) {
			t.Skip("SKIPPED: this root may not mount (a container without CAP_SYS_ADMIN)")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// fill leaves no room on the disk of dir: no block, and no inode either, since a
// tmpfs makes empty files without blocks (tmpfs(5)).
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	f.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	err = nil
	for n := 0; err == nil; n++ {
		err = syscall.Mknod(filepath.Join(dir, fmt.Sprintf("filler-%d", n)), syscall.S_IFREG, 0)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
