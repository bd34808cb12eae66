package supervise_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testproc"
	"golang.org/x/sys/unix"
)

// nobody is a user without rights: root is not bound by RLIMIT_NPROC.
const nobody = 65534

// TestForkFails: no process may be started any more. A restart is rolled back and
// says what to raise, the old one serves; one that crashes is started again when
// there is one to be had.
func TestForkFails(t *testing.T) {
	o := build(t, post(t, "a"))
	var as *syscall.SysProcAttr
	if os.Geteuid() == 0 {
		o.standsOpen()
		as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	o.cmd = o.command()
	o.cmd.SysProcAttr = as
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o.serve("a")
	old := o.pid("a")
	processes := func(most string) { // as the user whose process it is: root may lack the right
		t.Helper()
		cmd := exec.Command("prlimit", fmt.Sprint("--pid=", o.cmd.Process.Pid), "--nproc="+most+":")
		cmd.SysProcAttr = as
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}

	processes("1")
	r, err := o.api.Restart(t.Context(), "a", client.RestartRequest{}, nil)
	outcome(t, r, err, client.RolledBack)
	if r.FailedStep != "spawn" || !strings.Contains(r.Reason, syscall.EAGAIN.Error()) || !strings.Contains(r.Reason, "raise") {
		t.Errorf("at %q: %s", r.FailedStep, r.Reason)
	}
	if o.pid("a") != old {
		t.Errorf("process %d serves, not %d", o.pid("a"), old)
	}
	syscall.Kill(old, syscall.SIGKILL)
	testproc.Until(t, "a start has failed", func() bool {
		st := o.status("a")
		return st.State == client.BackingOff && strings.Contains(st.Reason, syscall.EAGAIN.Error())
	})

	processes("4096")
	o.serve("a")
	r, err = o.api.Restart(t.Context(), "a", client.RestartRequest{}, nil)
	outcome(t, r, err, client.Done)
}

// standsOpen lets another user execute the outpost, and gives it its directory.
func (o *outpost) standsOpen() {
	o.t.Helper()
	home := filepath.Dir(o.dir) // of this test
	program, err := os.ReadFile(o.exe)
	if err == nil {
		o.exe = filepath.Join(home, "outpost")
		err = errors.Join(os.WriteFile(o.exe, program, 0o755), os.Chmod(home, 0o755), os.Chown(o.dir, nobody, nobody))
	}
	if err != nil {
		o.t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(o.dir, "plan.json"))
	var members []supervise.Member
	if err == nil {
		err = json.Unmarshal(data, &members)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	for n := range members {
		members[n].Argv[0] = o.exe
	}
	o.plan(members...)
}

// TestOutOfDescriptors: the supervisor has none left, or a few. A restart is done, or
// rolled back with an error that says what to raise; whoever serves does so all the
// time, nothing leaks, and when there are some again everything works, the API first.
func TestOutOfDescriptors(t *testing.T) {
	m := post(t, "a")
	m.ReadyTimeout = 2 * time.Second
	o := build(t, m)
	o.man("a")
	v := visitor(t, o.address("a"))
	at := descriptorsOf(t, o.cmd.Process.Pid)
	for _, free := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14} {
		old, from := v.get("/"), len(o.said(0))
		pid, _ := strconv.Atoi(old)
		before := o.limit(unix.RLIMIT_NOFILE, o.allowing(free))
		if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil { // over a connection that is there
			t.Fatal(err)
		}
		report := o.says(from, "report: restart a ")
		o.limit(unix.RLIMIT_NOFILE, before)
		switch now := v.get("/"); {
		case strings.Contains(report, "a rolled back"):
			if now != old {
				t.Errorf("%d free: process %s serves, not %s: %s", free, now, old, report)
			}
			if !strings.Contains(report, "raise") {
				t.Errorf("%d free: %s", free, report)
			}
		case strings.Contains(report, "a done"):
			if now == old {
				t.Errorf("%d free: process %s serves still: %s", free, now, report)
			}
		default:
			t.Errorf("%d free: %s", free, report)
		}
		o.serve("a") // the API answers
	}
	// One that crashes meanwhile is started again when there are some.
	from, before := len(o.said(0)), o.limit(unix.RLIMIT_NOFILE, o.allowing(0))
	pid, _ := strconv.Atoi(v.get("/"))
	syscall.Kill(pid, syscall.SIGKILL)
	o.says(from, "report: restart a failed cannot start ")
	o.limit(unix.RLIMIT_NOFILE, before)
	o.serve("a")
	testproc.Until(t, "descriptors are as before", func() bool { return len(descriptorsOf(t, o.cmd.Process.Pid)) <= len(at)+1 })
	r, err := o.api.Restart(t.Context(), "a", client.RestartRequest{}, nil)
	outcome(t, r, err, client.Done)
}

// allowing is the limit of descriptors with which the outpost may open that many more.
func (o *outpost) allowing(free int) uint64 {
	numbers := descriptorsOf(o.t, o.cmd.Process.Pid)
	limit := 0
	for ; free > 0 || slices.Contains(numbers, limit); limit++ {
		if !slices.Contains(numbers, limit) {
			free--
		}
	}
	return uint64(limit)
}
