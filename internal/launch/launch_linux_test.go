package launch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/segue-go/segue/handover"
	"golang.org/x/sys/unix"
)

// Real programs, which say what they were given.

// ran is what a script has said, and the process that it was.
type ran struct {
	process *handover.Process
	out     string
}

func (r ran) lines() []string { return strings.Split(strings.TrimSuffix(r.out, "\n"), "\n") }

// run runs a script to its end.
func run(t *testing.T, s Spec, c handover.Command, script string) ran {
	t.Helper()
	c.Path, c.Args = "/bin/sh", []string{"sh", "-c", script}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.Stdout, c.Stderr = w, w
	p, err := s.Start(c)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	return ran{p, string(out)}
}

func umask(m fs.FileMode) *fs.FileMode { return &m }

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: this needs root")
	}
}

func TestZeroIsAPlainStart(t *testing.T) {
	if err := (Spec{}).Check(); err != nil || !(Spec{}).Zero() {
		t.Error(err)
	}
	plain := run(t, Spec{}, handover.Command{}, "ulimit -Sn; ulimit -Hn; umask; id -G; id -u")
	through := run(t, Spec{ListenPID: true}, handover.Command{}, "ulimit -Sn; ulimit -Hn; umask; id -G; id -u")
	if plain.out != through.out || len(plain.lines()) != 5 {
		t.Errorf("by itself %q, launched %q", plain.out, through.out)
	}
}

// What the Go runtime does to the soft limit of open files, here and in the launch,
// is not seen by the program.
func TestTheProgramHasTheSupervisorsOwnLimitOfFiles(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("LAUNCH_TEST_NOFILE") != "" {
		for _, s := range []Spec{{}, {ListenPID: true}, {Limits: map[string]Limit{"nofile": {300, 1000}}}, {Limits: map[string]Limit{"nofile": {999, 1000}}}, {Limits: map[string]Limit{"nofile": {1000, 1000}}}} {
			fmt.Print("is ", strings.ReplaceAll(run(t, s, handover.Command{}, "ulimit -Sn; ulimit -Hn").out, "\n", " "), "\n")
		}
		return
	}
	cmd := exec.Command("/bin/sh", "-c", `ulimit -Sn 256; ulimit -Hn 1000; exec "$0" "$@"`, exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "LAUNCH_TEST_NOFILE=1")
	out, err := cmd.CombinedOutput()
	var got []string
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(line, "is "); ok {
			got = append(got, strings.TrimSpace(rest))
		}
	}
	if want := []string{"256 1000", "256 1000", "300 1000", "999 1000", "1000 1000"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, not %q: %v\n%s", got, want, err, out)
	}
}

func TestLimits(t *testing.T) {
	limits := map[string]Limit{"nofile": {64, 128}, "core": {0, 0}, "nproc": {1000, 2000}, "stack": {4 << 20, 8 << 20}, "cpu": {50, 60}}
	got := run(t, Spec{Limits: limits}, handover.Command{}, "cat /proc/$$/limits").out
	for label, want := range map[string]string{
		"Max open files": "64 128", "Max core file size": "0 0", "Max processes": "1000 2000",
		"Max stack size": "4194304 8388608", "Max cpu time": "50 60",
	} {
		i := strings.Index(got, label)
		if i < 0 || !strings.HasPrefix(strings.Join(strings.Fields(got[i+len(label):])[:2], " "), want) {
			t.Errorf("%s is not %s:\n%s", label, want, got)
		}
	}
}

// Limits that the launch itself is above already: it must come through all the same.
func TestLimitsThatALaunchDoesNotFitIn(t *testing.T) {
	for _, limits := range []map[string]Limit{
		{"as": {64 << 20, 64 << 20}},
		{"data": {8 << 20, 8 << 20}},
		{"nofile": {8, 8}},
		{"fsize": {0, 0}},
		{"memlock": {0, 0}},
		{"sigpending": {0, 0}},
	} {
		s := Spec{Limits: limits}
		if os.Geteuid() == 0 {
			s.User = "nobody"
		}
		for range 5 {
			if got := run(t, s, handover.Command{}, "echo here"); got.out != "here\n" {
				t.Errorf("%v: %q, %v", limits, got.out, got.process.Err())
			}
		}
	}
}

func TestUmask(t *testing.T) {
	dir := t.TempDir()
	got := run(t, Spec{Umask: umask(0o027)}, handover.Command{Dir: dir}, "umask; : > file; stat -c %a file")
	if got.out != "0027\n640\n" {
		t.Errorf("%q", got.out)
	}
	if got := run(t, Spec{Umask: umask(0)}, handover.Command{}, "umask"); got.out != "0000\n" {
		t.Errorf("%q", got.out)
	}
	was := unix.Umask(0)
	unix.Umask(was)
	if was == 0 {
		t.Error("the umask of this process has changed")
	}
}

// The variables name the process that was started, also when it is a script, and are
// there only with what they are about.
func TestListenPID(t *testing.T) {
	ln, err := handover.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := handover.Dup(ln.(syscall.Conn), "web")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	script := filepath.Join(t.TempDir(), "service")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho $$ $LISTEN_PID $WATCHDOG_PID $LISTEN_FDS $LISTEN_FDNAMES\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := handover.Command{Sockets: []handover.Socket{{Name: "web", File: f}}, Watchdog: "1000000"}
	got := run(t, Spec{ListenPID: true}, c, "exec "+script)
	pid := strconv.Itoa(got.process.PID)
	if want := pid + " " + pid + " " + pid + " 1 web\n"; got.out != want {
		t.Errorf("%q, not %q", got.out, want)
	}
	// Without the word it is the wire's.
	if got := run(t, Spec{Umask: umask(0o022)}, c, "echo $LISTEN_PID:$WATCHDOG_PID:$LISTEN_FDS"); got.out != "::1\n" {
		t.Errorf("%q", got.out)
	}
	if got := run(t, Spec{ListenPID: true}, handover.Command{}, "echo $LISTEN_PID:$WATCHDOG_PID"); got.out != ":\n" {
		t.Errorf("%q", got.out)
	}
}

// The program has 0, 1, 2 and what it was given, from 3 on; nothing of a launch.
func TestNothingLeaksIntoTheProgram(t *testing.T) {
	var c handover.Command
	for _, name := range []string{"web", "admin"} {
		ln, err := handover.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		f, err := handover.Dup(ln.(syscall.Conn), name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c.Sockets = append(c.Sockets, handover.Socket{Name: name, File: f})
	}
	solo, err := handover.NewSoloLock()
	if err != nil {
		t.Fatal(err)
	}
	defer solo.Close()
	c.Solo = solo
	// A latin-1 value is not text, and a variable may stand twice.
	c.Env = []string{"NAME=caf\xe9", "TWICE=1", "TWICE=2", "NOTIFY_SOCKET=/stranger", "SEGUE_LAUNCH=7"}
	const script = `for f in /proc/$$/fd/*; do [ -e $f ] && printf '%s ' ${f##*/}; done; echo; tr '\0' '\n' < /proc/$$/environ; echo end; tr '\0' ' ' < /proc/$$/cmdline`
	launched := run(t, Spec{Umask: umask(0o022)}, c, script)
	plain := run(t, Spec{}, c, script)
	fds, rest, _ := strings.Cut(launched.out, "\n")
	others, _, _ := strings.Cut(plain.out, "\n") // this process may have been given some itself
	env, _, _ := strings.Cut(rest, "end\n")
	if fds != others || !strings.Contains(fds, " 5 ") {
		t.Errorf("descriptors %q, not %q", fds, others)
	}
	if want := "NAME=caf\xe9\nTWICE=2\nLISTEN_FDS=2\nLISTEN_FDNAMES=web:admin\nSEGUE_SOLO=5\n"; env != want {
		t.Errorf("%q, not %q", env, want)
	}
	_, mine, _ := strings.Cut(launched.out, "end\n")
	_, its, _ := strings.Cut(plain.out, "end\n")
	if mine != its {
		t.Errorf("%q, not %q", mine, its)
	}
}

func TestStandardInput(t *testing.T) {
	if got := run(t, Spec{ListenPID: true}, handover.Command{}, "cat; echo end"); got.out != "end\n" {
		t.Errorf("%q", got.out)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.WriteString("said")
	w.Close()
	if got := run(t, Spec{ListenPID: true}, handover.Command{Stdin: r}, "cat"); got.out != "said" {
		t.Errorf("%q", got.out)
	}
}

// The process is the one that Start returns: number, group and start time.
func TestItIsTheSameProcess(t *testing.T) {
	got := run(t, Spec{ListenPID: true}, handover.Command{Group: true}, `echo $$; cat /proc/$$/stat; exit 3`)
	fields := strings.Fields(got.lines()[1][strings.LastIndex(got.lines()[1], ")")+1:])
	pid := strconv.Itoa(got.process.PID)
	if got.lines()[0] != pid || fields[2] != pid || fields[19] != strconv.FormatUint(got.process.Started(), 10) {
		t.Errorf("%d, started at %d: %q", got.process.PID, got.process.Started(), got.out)
	}
	if got.process.ExitCode() != 3 {
		t.Errorf("%d, %v", got.process.ExitCode(), got.process.Err())
	}
}

func TestExecutionFailsInStart(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	busy := write("busy", "", 0o700)
	open, err := os.OpenFile(busy, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	for _, c := range []struct {
		c    handover.Command
		is   error
		hint string
	}{
		{handover.Command{Path: dir + "/missing"}, fs.ErrNotExist, "build it, or correct the path"},
		{handover.Command{Path: write("data", "x", 0o600)}, fs.ErrPermission, "chmod +x"},
		{handover.Command{Path: write("script", "exit 0\n", 0o700)}, syscall.ENOEXEC, "without #!"},
		{handover.Command{Path: write("interpreted", "#!/no/such/interpreter\n", 0o700)}, fs.ErrNotExist, "the file is there, but not the interpreter"},
		{handover.Command{Path: busy}, syscall.ETXTBSY, "by renaming (mv)"},
		{handover.Command{Path: "/bin/true", Dir: dir + "/gone"}, fs.ErrNotExist, "the directory " + dir + "/gone is not there"},
		{handover.Command{Path: "/bin/true", Sockets: []handover.Socket{{Name: "a:b"}}}, nil, "socket name"},
		{handover.Command{Path: "./data", Dir: dir}, fs.ErrPermission, "chmod +x"},
	} {
		before := children(t)
		p, err := Spec{ListenPID: true}.Start(c.c)
		if err == nil {
			<-p.Done()
		}
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.hint) || !strings.HasPrefix(err.Error(), "cannot start "+c.c.Path+": ") {
			t.Errorf("%+v: %v; want %q in it", c.c, err, c.hint)
		}
		if after := children(t); after != before {
			t.Errorf("%v: children %q, before %q", err, after, before)
		}
	}
}

// children are the processes that this one must wait for still.
func children(t *testing.T) string {
	t.Helper()
	files, _ := filepath.Glob("/proc/self/task/*/children")
	var all []string
	for _, f := range files {
		data, _ := os.ReadFile(f) // a thread may be gone
		all = append(all, strings.Fields(string(data))...)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		s    Spec
		want string
	}{
		{Spec{User: "no-such-user"}, `cannot find user "no-such-user"`},
		{Spec{Group: "no-such-group"}, `cannot find group "no-such-group"`},
		{Spec{User: "4294967295"}, `cannot find user "4294967295"`},
		{Spec{User: "-1"}, `cannot find user "-1"`},
		{Spec{User: "123456"}, `cannot find user "123456"`}, // of which group it is nobody knows
		{Spec{Limits: map[string]Limit{"nofiles": {1, 1}}}, "the names are as, core, cpu,"},
		{Spec{Limits: map[string]Limit{"nofile": {2, 1}}}, "it is above the hard one of 1"},
		{Spec{Limits: map[string]Limit{"nofile": {1, Infinity}}}, "cannot set limit nofile to unlimited"},
		{Spec{Umask: umask(0o1000)}, "cannot set umask"},
	} {
		err := c.s.Check()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.s, err)
		}
		p, err := c.s.Start(handover.Command{Path: "/bin/true"})
		if err == nil {
			<-p.Done()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v was started: %v", c.s, err)
		}
	}
	err := Spec{User: "no-such-user", Umask: umask(0o7777), Limits: map[string]Limit{"x": {}, "y": {}}}.Check()
	for _, want := range []string{"no-such-user", "umask", `limit "x"`, `limit "y"`} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func TestAnotherUser(t *testing.T) {
	needRoot(t)
	uid, gid, err := Owner("nobody", "")
	if err != nil || uid == 0 {
		t.Fatal(uid, err)
	}
	s := Spec{User: "nobody", Umask: umask(0o077), Limits: map[string]Limit{"nofile": {111, 222}}}
	got := run(t, s, handover.Command{Env: s.Environ([]string{"HOME=/root", "USER=root", "SHELL=/bin/bash", "LOGNAME=root", "PATH=" + os.Getenv("PATH"), "KEPT=1"})},
		`id -u; id -g; id -G; umask; ulimit -n; grep Cap /proc/$$/status | tr -d '\t' | tr '\n' ' '; echo; echo $HOME $USER $LOGNAME $SHELL $KEPT; grep Uid /proc/$$/status; (: > /proc/1/oom_score_adj) 2>/dev/null || echo denied`)
	l := got.lines()
	if l[0] != strconv.Itoa(uid) || l[1] != strconv.Itoa(gid) || l[2] != strconv.Itoa(gid) || l[3] != "0077" || l[4] != "111" {
		t.Errorf("%q", l)
	}
	if !strings.Contains(l[5], "CapPrm:0000000000000000 CapEff:0000000000000000") || !strings.Contains(l[5], "CapAmb:0000000000000000") {
		t.Errorf("capabilities %q", l[5])
	}
	if l[6] != "/nonexistent nobody nobody 1" {
		t.Errorf("environment %q", l[6])
	}
	if want := strings.Repeat("\t"+strconv.Itoa(uid), 4); l[7] != "Uid:"+want {
		t.Errorf("%q", l[7])
	}
	if l[len(l)-1] != "denied" {
		t.Errorf("%q", l[8:])
	}
}

func TestGroups(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		s    Spec
		want string
	}{
		{Spec{User: "nobody", Group: "daemon"}, "65534 1 1"},
		{Spec{User: "12345", Group: "23456"}, "12345 23456 23456"},
		{Spec{Group: "daemon"}, "0 1 "}, // and what this process has besides
		{Spec{User: "root"}, "0 0 0"},
		{Spec{User: "65534"}, "65534 65534 65534"},
	} {
		got := strings.Join(run(t, c.s, handover.Command{}, "id -u; id -g; id -G").lines(), " ")
		if !strings.HasPrefix(got, c.want) || !strings.HasSuffix(c.want, " ") && got != c.want {
			t.Errorf("%+v: %q, not %q", c.s, got, c.want)
		}
	}
}

// What it may not execute is an error of Start's, with the user in it.
func TestAnotherUserMayNotExecute(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Spec{User: "nobody"}.Start(handover.Command{Path: path})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "user 65534 must be able to execute it") {
		t.Error(err)
	}
	other, err := Spec{User: "54321", Group: "54321"}.Start(handover.Command{Path: "/bin/sleep", Args: []string{"sleep", "60"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { other.Signal(os.Kill); <-other.Done() }()
	_, err = Spec{User: "54321", Group: "54321", Limits: map[string]Limit{"nproc": {0, 0}}}.Start(handover.Command{Path: "/bin/true"})
	if err == nil || !strings.Contains(err.Error(), "nproc") {
		t.Error(err)
	}
}

// What a service's environment says must not be obeyed while its process is root's.
func TestTheEnvironmentIsOnlyTheProgramsOwn(t *testing.T) {
	c := handover.Command{Env: []string{"GODEBUG=inittrace=1", "LD_DEBUG=libs"}}
	got := run(t, Spec{ListenPID: true}, c, "echo $GODEBUG $LD_DEBUG 2>&1")
	if !strings.HasSuffix(got.out, "inittrace=1 libs\n") || strings.Contains(got.out, "init internal") {
		t.Errorf("%q", got.out)
	}
}

// The same as a user that may do less: this test binary once more, as nobody.
func TestUnprivileged(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("", "launch")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for at := dir; at != "/" && at != "."; at = filepath.Dir(at) {
		if info, err := os.Stat(at); at != dir && (err != nil || info.Mode()&0o001 == 0) {
			t.Skipf("SKIPPED: nobody cannot enter %s; set TMPDIR", at)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(copied, data, 0o755)); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	w, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Spec{User: "nobody"}.Start(handover.Command{
		Path: copied, Stdout: w, Stderr: w, Dir: dir,
		Args: []string{"test", "-test.v", "-test.run=^(TestOther|TestZero|TestTheProgram|TestLimits|TestUmask|TestListenPID|TestNothing|TestItIs|TestExecution|TestCheck)"},
		Env:  []string{"LAUNCH_TEST_OTHER=1", "PATH=" + os.Getenv("PATH")},
	})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	said, _ := os.ReadFile(out)
	if p.ExitCode() != 0 || strings.Count(string(said), "--- PASS") < 10 {
		t.Errorf("%v\n%s", p.Err(), said)
	}
}

// Of TestUnprivileged.
func TestOther(t *testing.T) {
	if os.Getenv("LAUNCH_TEST_OTHER") == "" {
		t.Skip("part of TestUnprivileged")
	}
	for _, s := range []Spec{{User: "nobody"}, {User: strconv.Itoa(os.Getuid())}, {User: "nobody", Group: strconv.Itoa(os.Getgid())}} {
		if got := run(t, s, handover.Command{}, "id -u"); got.out != "65534\n" {
			t.Errorf("%+v: %q", s, got.out)
		}
	}
	for _, c := range []struct {
		s    Spec
		want string
	}{
		{Spec{User: "root"}, "cannot run as user 0: this process is of user 65534 and may not change that; run the supervisor as root"},
		{Spec{Group: "daemon"}, "cannot run as group 1: "},
		{Spec{Limits: map[string]Limit{"nofile": {1, 1 << 19}}}, "raise the supervisor's, or run it as root"},
	} {
		_, err := c.s.Start(handover.Command{Path: "/bin/true"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.s, err)
		}
	}
}

func TestWithoutMainNothingIsLaunched(t *testing.T) {
	ready = false
	defer func() { ready = true }()
	p, err := Spec{ListenPID: true}.Start(handover.Command{Path: "/bin/true"})
	if err == nil {
		<-p.Done()
	}
	if err == nil || !strings.Contains(err.Error(), "call launch.Main first") {
		t.Error(err)
	}
}

func TestMainRefusesWhatIsNoLaunch(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"x", "77", "-1"} {
		cmd := exec.Command(exe)
		cmd.Env = []string{handover.EnvLaunch + "=" + v}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "unset it") {
			t.Errorf("%v: %s", err, out)
		}
	}
}
