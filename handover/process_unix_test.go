//go:build unix

package handover

import (
	"bufio"
	"errors"
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
)

// shell starts a script; out is what it prints.
func shell(t *testing.T, group bool, script string) (p *Process, out *bufio.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err = Start(Command{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: os.Environ(), Group: group, Stdout: w})
	w.Close()
	if err != nil {
		r.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Signal(os.Kill); <-p.Done(); r.Close() })
	return p, bufio.NewReader(r)
}

func readPID(t *testing.T, out *bufio.Reader) int {
	t.Helper()
	line, err := out.ReadString('\n')
	pid, bad := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || bad != nil {
		t.Fatalf("%q, %v", line, err)
	}
	return pid
}

func TestStartFailsWithAHint(t *testing.T) {
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
	write("relative", "#!/no/such/interpreter\n", 0o700)
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := Dup(ln.(syscall.Conn), "web")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []struct {
		c    Command
		is   error
		hint string
	}{
		{Command{Path: dir + "/missing"}, fs.ErrNotExist, "build it, or correct the path"},
		{Command{Path: write("data", "x", 0o600)}, fs.ErrPermission, "chmod +x"},
		{Command{Path: dir}, fs.ErrPermission, "must be a file"},
		{Command{Path: write("script", "exit 0\n", 0o700)}, syscall.ENOEXEC, "without #!"},
		{Command{Path: write("interpreted", "#!/no/such/interpreter\n", 0o700)}, fs.ErrNotExist, "the file is there, but not the interpreter"},
		{Command{Path: "./relative", Dir: dir}, fs.ErrNotExist, "the file is there, but not the interpreter"},
		{Command{Path: busy}, syscall.ETXTBSY, "by renaming (mv)"},
		{Command{Path: "/bin/true", Dir: dir + "/gone"}, fs.ErrNotExist, "the directory " + dir + "/gone is not there"},
		{Command{Path: "/bin/true", Sockets: []Socket{{"a:b", f}}}, nil, "socket name"},
	} {
		p, err := Start(c.c)
		if err == nil {
			<-p.Done()
		}
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.hint) || !strings.HasPrefix(err.Error(), "cannot start "+c.c.Path) {
			t.Errorf("%+v: %v; want %q in it", c.c, err, c.hint)
		}
	}
}

func TestHowAProcessEnds(t *testing.T) {
	for script, want := range map[string]struct {
		code int
		err  string
	}{
		"exit 0":        {0, "exited with status 0"},
		"exit 3":        {3, "exited with status 3"},
		"kill -KILL $$": {137, "was ended by signal 9 (killed)"},
		"kill -TERM $$": {143, "was ended by signal 15 (terminated)"},
	} {
		p, _ := shell(t, false, script)
		<-p.Done()
		if p.ExitCode() != want.code || p.Err().Error() != want.err {
			t.Errorf("%s: %d, %v", script, p.ExitCode(), p.Err())
		}
		var exit *exec.ExitError
		if errors.As(p.Err(), &exit) != (want.code != 0) {
			t.Errorf("%s: %T", script, p.Err())
		}
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("a signal to what has ended: %v", err)
		}
	}
	p, out := shell(t, false, "echo $$; exec sleep 60")
	if p.Err() != nil || p.ExitCode() != -1 || readPID(t, out) != p.PID {
		t.Errorf("while it runs: %d, %v", p.ExitCode(), p.Err())
	}
	if err := p.Signal(syscall.SIGALRM); err != nil { // a shell has its background jobs ignore SIGINT
		t.Error(err)
	}
	<-p.Done()
	if p.ExitCode() != 128+int(syscall.SIGALRM) {
		t.Errorf("%d, %v", p.ExitCode(), p.Err())
	}
}

// Somebody else in the process has waited for the child: that is an error of
// theirs, and not the end of this process.
func TestStolenExit(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	p := follow(cmd.Process, false, func() (*os.ProcessState, error) { return exitOf(cmd) })
	<-p.Done()
	if p.ExitCode() != -1 || p.Err() == nil || !strings.Contains(p.Err().Error(), "how is not known") {
		t.Errorf("%d, %v", p.ExitCode(), p.Err())
	}
}

func TestOwns(t *testing.T) {
	const script = "sleep 60 & echo $!; wait"
	alone, out := shell(t, false, script)
	child := readPID(t, out)
	defer syscall.Kill(child, syscall.SIGKILL)
	if alone.Owns(child) || !alone.Owns(alone.PID) {
		t.Error("a process without a group owns itself and nobody else")
	}
	leader, out := shell(t, true, script)
	other := readPID(t, out)
	if !leader.Owns(leader.PID) || !leader.Owns(other) {
		t.Error("the leader does not own its child")
	}
	for _, pid := range []int{child, alone.PID, os.Getpid(), os.Getppid(), 1, 0, -1, -leader.PID} {
		if leader.Owns(pid) {
			t.Errorf("it owns %d", pid)
		}
	}
}

// The children of a leader that has ended are reached by a signal still.
func TestGroupOutlivesItsLeader(t *testing.T) {
	p, out := shell(t, true, "sleep 60 & echo $!; exit 0")
	child := readPID(t, out)
	<-p.Done()
	if !p.Owns(child) {
		t.Error("the child is not owned any more")
	}
	if err := p.Signal(os.Kill); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 { // EOF: the child is dead
		t.Errorf("%q, %v", rest, err)
	}
}

// How docs/PROTOCOL.md has a program started that insists on LISTEN_PID.
func TestShellAddressesTheSockets(t *testing.T) {
	p, out := shell(t, false, `LISTEN_PID=$$ exec sh -c 'echo $LISTEN_PID; echo $$'`)
	if addressed, is := readPID(t, out), readPID(t, out); addressed != p.PID || is != p.PID {
		t.Errorf("for %d, which is %d, started as %d", addressed, is, p.PID)
	}
}

func TestNothingLeaksIntoTheEnvironment(t *testing.T) {
	for _, k := range wireEnv {
		t.Setenv(k, "the parent's")
	}
	for name, c := range map[string]struct {
		c    Command
		want []string
	}{
		"empty": {Command{}, nil},
		"whole": {Command{Env: append(os.Environ(), "SHOP=1"), Generation: 2, Predecessor: 7, Control: "/c", NotifySocket: "/n", Watchdog: "9"},
			[]string{"NOTIFY_SOCKET=/n", "SEGUE_CONTROL=/c", "SEGUE_GENERATION=2", "SEGUE_PREDECESSOR=7", "WATCHDOG_USEC=9"}},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c.c.Path, c.c.Stdout, c.c.Stderr = "/usr/bin/env", w, w
		p, err := Start(c.c)
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		r.Close()
		<-p.Done()
		if err != nil || strings.Contains(string(data), "the parent's") {
			t.Errorf("%s: %s, %v", name, data, err)
		}
		var wire []string
		for line := range strings.Lines(string(data)) {
			k, _, _ := strings.Cut(line, "=")
			if slices.Contains(wireEnv, k) {
				wire = append(wire, strings.TrimSpace(line))
			}
		}
		slices.Sort(wire)
		if !slices.Equal(wire, c.want) || strings.Contains(string(data), "SHOP=1") != (name == "whole") {
			t.Errorf("%s: %q", name, wire)
		}
	}
}
