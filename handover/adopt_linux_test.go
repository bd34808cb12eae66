package handover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	children["reexec"] = func() int { return exitCode(reexec()) }
	children["reexecuted"] = func() int { return exitCode(reexecuted()) }
}

func TestStartTimeReadsAnyName(t *testing.T) {
	after := " S 1 2 3 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 "
	for _, name := range []string{"sh", "a b", "a) R 1 (b", ")", "((", ""} {
		n, err := startTime("12 (" + name + ")" + after + "777 1 2 3\n")
		if n != 777 || err != nil {
			t.Errorf("%q: %d, %v", name, n, err)
		}
	}
	for _, bad := range []string{"", "12", "12 (sh)", "12 (sh)" + after, "12 (sh)" + after + "x", "12 (sh)" + after + "-1"} {
		if n, err := startTime(bad); err == nil {
			t.Errorf("%q is %d", bad, n)
		}
	}
	p, out := shell(t, false, "echo $$; exec sleep 60")
	readPID(t, out)
	now, err := StartTime(p.PID)
	if err != nil || now == 0 || now != p.Started() {
		t.Errorf("%d, %v; it was started at %d", now, err, p.Started())
	}
	p.Signal(os.Kill)
	<-p.Done()
	if _, err := StartTime(p.PID); !errors.Is(err, ErrProcessGone) {
		t.Error(err)
	}
}

func TestWatchRefusesAnotherProcess(t *testing.T) {
	p, out := shell(t, false, "echo $$; exec sleep 60")
	readPID(t, out)
	for _, started := range []uint64{0, p.Started() + 1, p.Started() - 1} {
		if q, err := Watch(p.PID, started, false); !errors.Is(err, ErrProcessGone) {
			t.Errorf("started at %d, and not at %d: %v, %v", p.Started(), started, q, err)
		}
	}
	for _, pid := range []int{0, -1, -p.PID} {
		if q, err := Watch(pid, p.Started(), false); err == nil {
			t.Errorf("%d: %v", pid, q)
		}
	}
	if p.Err() != nil {
		t.Error(p.Err())
	}
	p.Signal(os.Kill)
	<-p.Done()
	if q, err := Watch(p.PID, p.Started(), false); !errors.Is(err, ErrProcessGone) {
		t.Errorf("an ended process: %v, %v", q, err)
	}
}

// The number of a group's leader is another's: it is not signalled.
func TestAGroupsNumberThatWasGivenAway(t *testing.T) {
	p, out := shell(t, true, "echo $$; exec sleep 60")
	readPID(t, out)
	old := &Process{PID: p.PID, started: p.Started() - 1, group: true, done: make(chan struct{})}
	if err := old.Signal(os.Kill); err != nil {
		t.Error(err)
	}
	p.Signal(syscall.SIGTERM) // the second one, if that was one
	<-p.Done()
	if p.ExitCode() != 143 {
		t.Errorf("it was signalled: %v", p.Err())
	}
}

// A child that was started before this program was executed anew has an exit status.
func TestWatchAChild(t *testing.T) {
	for script, want := range map[string]struct {
		code int
		err  string
	}{
		"exit 0":        {0, "exited with status 0"},
		"exit 3":        {3, "exited with status 3"},
		"kill -TERM $$": {143, "was ended by signal 15 (terminated)"},
	} {
		for _, late := range []bool{false, true} { // it has ended before
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			child, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "read x; " + script}, &os.ProcAttr{Files: []*os.File{r, nil, os.Stderr}})
			r.Close()
			if err != nil {
				t.Fatal(err)
			}
			started, err := StartTime(child.Pid)
			if err != nil {
				t.Fatal(err)
			}
			if late {
				w.Close()
				var info unix.Siginfo
				unix.Waitid(unix.P_PID, child.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
			}
			p, err := Watch(child.Pid, started, false)
			if err != nil {
				t.Fatal(err)
			}
			if !late && p.Err() != nil {
				t.Error(p.Err())
			}
			w.Close()
			<-p.Done()
			if p.ExitCode() != want.code || p.Err().Error() != want.err || p.Started() != started {
				t.Errorf("%s: %d, %v", script, p.ExitCode(), p.Err())
			}
			if err := p.Signal(os.Kill); err != nil {
				t.Error(err)
			}
			if _, err := StartTime(child.Pid); !errors.Is(err, ErrProcessGone) {
				t.Errorf("it was not waited for: %v", err)
			}
			child.Release()
		}
	}
}

func TestWatchAProcessOfAnother(t *testing.T) {
	// The parent exits, and somebody else inherits the child.
	parent, out := shell(t, false, `setsid sh -c 'sleep 60 & echo $$ $!; wait' &`)
	<-parent.Done()
	line, err := out.ReadString('\n')
	var pid, grandchild int
	if _, scan := fmt.Sscan(line, &pid, &grandchild); err != nil || scan != nil {
		t.Fatalf("%q, %v", line, err)
	}
	t.Cleanup(func() { syscall.Kill(grandchild, syscall.SIGKILL) })
	started, err := StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	p, err := Watch(pid, started, true)
	if err != nil {
		t.Fatal(err)
	}
	if p.Err() != nil || p.ExitCode() != -1 || !p.Owns(grandchild) || p.Owns(os.Getpid()) {
		t.Errorf("while it runs: %v, %d", p.Err(), p.ExitCode())
	}
	child, err := StartTime(grandchild)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(os.Kill); err != nil {
		t.Error(err)
	}
	<-p.Done()
	if p.ExitCode() != -1 || p.Err() == nil || !strings.Contains(p.Err().Error(), "its exit status was for its parent") {
		t.Errorf("%d, %v", p.ExitCode(), p.Err())
	}
	if err := p.Signal(os.Kill); err != nil {
		t.Error(err)
	}
	if q, err := Watch(grandchild, child, false); err == nil { // of the group, so it was signalled too
		<-q.Done()
	}
	if now := openFiles(t); now != before {
		t.Errorf("%d descriptors, %d before", now, before)
	}
}

// reexec opens the sockets of a supervisor, starts a child, and executes itself anew.
func reexec() error {
	dir := os.Getenv("HANDOVER_TEST_DIR")
	control, err := ListenControl(filepath.Join(dir, "control"))
	if err != nil {
		return err
	}
	notify, err := ListenNotify(filepath.Join(dir, "notify"))
	if err != nil {
		return err
	}
	p, err := Start(Command{Path: "/bin/sh", Args: []string{"sh", "-c", "exec 3< " + dir + "/go; exit 7"}, Group: true, Stderr: os.Stderr})
	if err != nil {
		return err
	}
	os.Setenv("HANDOVER_TEST", "reexecuted")
	os.Setenv("HANDOVER_TEST_CHILD", fmt.Sprintf("%d %d", p.PID, p.Started()))
	for key, file := range map[string]func() (*os.File, error){"CONTROL": control.File, "NOTIFY": notify.File} {
		f, err := file()
		if err != nil {
			return err
		}
		raw, err := f.SyscallConn()
		if err != nil {
			return err
		}
		raw.Control(func(fd uintptr) {
			unix.FcntlInt(fd, unix.F_SETFD, 0)
			os.Setenv("HANDOVER_TEST_"+key, strconv.Itoa(int(fd)))
		})
	}
	fmt.Println("open")
	bufio.NewReader(os.Stdin).ReadString('\n')
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(exe, os.Args, os.Environ())
}

// reexecuted goes on with all of it, and says what it has found.
func reexecuted() error {
	dir := os.Getenv("HANDOVER_TEST_DIR")
	file := func(key string) *os.File {
		fd, _ := strconv.Atoi(os.Getenv("HANDOVER_TEST_" + key))
		return adopt(fd, key)
	}
	control, err := ControlFrom(file("CONTROL"), filepath.Join(dir, "control"))
	if err != nil {
		return err
	}
	notify, err := NotifyFrom(file("NOTIFY"), filepath.Join(dir, "notify"))
	if err != nil {
		return err
	}
	var pid int
	var started uint64
	if _, err := fmt.Sscan(os.Getenv("HANDOVER_TEST_CHILD"), &pid, &started); err != nil {
		return err
	}
	p, err := Watch(pid, started, true)
	if err != nil {
		return err
	}
	n, err := notify.Receive() // what was said before
	if err != nil {
		return err
	}
	fmt.Println("notified", n.Values["STATUS"], n.PID)
	n.Processed()
	peer, err := control.Accept() // who has dialled before
	if err != nil {
		return err
	}
	link := NewLink(peer, func(context.Context, Request) (Fields, error) { return Fields{"HERE": "1"}, nil })
	fmt.Println("dialled", peer.PID)
	<-p.Done()
	fmt.Println("ended", p.ExitCode(), p.Err())
	<-link.Done()
	return errors.Join(link.Close(), control.Close(), notify.Close())
}

// A supervisor executes itself anew: what was said meanwhile is heard, and how its
// child ends is known.
func TestAProgramThatIsExecutedAnew(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "HANDOVER_TEST=reexec", "HANDOVER_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if f, err := os.OpenFile(filepath.Join(dir, "go"), os.O_RDWR, 0); err == nil { // lets its child go
			f.Close()
		}
	})
	out := bufio.NewReader(pipe)
	says := func(want string) {
		t.Helper()
		line, err := out.ReadString('\n')
		if line != want+"\n" {
			t.Fatalf("%q, %v; not %q", line, err, want)
		}
	}
	says("open")
	n := NewNotifier(filepath.Join(dir, "notify"))
	defer n.Close()
	if err := n.Send("STATUS=early"); err != nil {
		t.Fatal(err)
	}
	peer, err := DialControl(t.Context(), filepath.Join(dir, "control"))
	if err != nil {
		t.Fatal(err)
	}
	link := NewLink(peer, refuse)
	defer link.Close()
	io.WriteString(in, "now\n")
	says("notified early " + strconv.Itoa(os.Getpid()))
	says("dialled " + strconv.Itoa(os.Getpid()))
	if f, err := link.Call(t.Context(), Check, nil); err != nil || f["HERE"] != "1" {
		t.Errorf("%v, %v", f, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0); err != nil { // opens: the child exits
		t.Fatal(err)
	}
	says("ended 7 exited with status 7")
	link.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"control", "notify"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was not removed: %v", name, err)
		}
	}
}

func TestDuplicatesOfTheSockets(t *testing.T) {
	dir := t.TempDir()
	control, err := ListenControl(filepath.Join(dir, "control"))
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	notify, err := ListenNotify(filepath.Join(dir, "notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	for path, file := range map[string]func() (*os.File, error){control.Path(): control.File, notify.Path(): notify.File} {
		f, err := file()
		if err != nil {
			t.Fatal(err)
		}
		if !nonblocking(f) {
			t.Errorf("%s blocks", path)
		}
		f.Close()
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("closing a duplicate has removed %s: %v", path, err)
		}
	}
	for _, wrong := range []func() (*os.File, error){control.File, notify.File, func() (*os.File, error) { return os.Open("/dev/null") }} {
		f, err := wrong()
		if err != nil {
			t.Fatal(err)
		}
		if l, err := ControlFrom(f, "x"); err == nil && l.ln.Addr().String() != control.Path() {
			t.Error("a stranger was taken for the control socket")
		}
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("the descriptor was not taken over: %v", err)
		}
		if f, err = wrong(); err != nil {
			t.Fatal(err)
		}
		if l, err := NotifyFrom(f, "x"); err == nil && l.conn.LocalAddr().String() != notify.Path() {
			t.Error("a stranger was taken for the notify socket")
		}
	}
}

func TestChownOfTheSockets(t *testing.T) {
	dir := t.TempDir()
	control, err := ListenControl(filepath.Join(dir, "control"))
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	notify, err := ListenNotify(filepath.Join(dir, "notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	for path, chown := range map[string]func(int, int) error{control.Path(): control.Chown, notify.Path(): notify.Chown} {
		uid, gid := os.Getuid(), os.Getgid()
		if uid == 0 {
			uid, gid = 65534, 65533
		} else if err := chown(0, 0); err == nil || !strings.Contains(err.Error(), "run the supervisor as root") {
			t.Error(err)
		}
		if err := chown(uid, gid); err != nil {
			t.Error(err)
		}
		var s unix.Stat_t
		if err := unix.Lstat(path, &s); err != nil || int(s.Uid) != uid || int(s.Gid) != gid || s.Mode&0o777 != 0o600 {
			t.Errorf("%s: %v, %d:%d %o", path, err, s.Uid, s.Gid, s.Mode)
		}
	}
}
