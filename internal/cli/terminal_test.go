//go:build linux

package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a new pseudo-terminal (pts(4)).
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	var n uint32
	err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	if err == nil {
		n, err = unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 120})
	}
	if err != nil {
		unix.Close(fd)
		t.Fatal(err)
	}
	unix.SetNonblock(fd, true) // so that Close ends a Read
	master = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { master.Close() })
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// display is what a terminal has been sent.
type display struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (d *display) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case d.more <- struct{}{}:
	default:
	}
	return d.text.Write(p)
}

func (d *display) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// expect waits for a line.
func (d *display) expect(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	late := time.After(patience)
	for !re.MatchString(d.String()) {
		select {
		case <-d.more:
		case <-late:
			t.Fatalf("never came: %s\n%s", pattern, d)
		}
	}
}

// TestTerminal types at `segue run`.
func TestTerminal(t *testing.T) {
	master, slave := openTerminal(t)
	cmd := exec.Command("segue", "run", "--listen", "web=127.0.0.1:0", "--trial", "10ms", "--probation", "10ms", "--", "shop")
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cmd.Env = append(os.Environ(), "SEGUE_RUNTIME_DIR="+dir, "GORACE=atexit_sleep_ms=0", "NO_COLOR=1", "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	d := &display{more: make(chan struct{}, 1)}
	read := make(chan struct{})
	go func() { io.Copy(d, master); close(read) }()
	defer func() { master.Close(); <-read }()

	d.expect(t, `^segue \| starting shop: web on 127\.0\.0\.1:\d+\r?$`)
	d.expect(t, `segue \|   ✓ ready .*\r?$`)
	d.expect(t, `segue \| shop serves\r?$`)
	d.expect(t, `shop\.1 \| this is v1 .*\r?$`)
	cmd.Process.Signal(syscall.SIGUSR2)
	d.expect(t, `segue \| restarted shop in .*generation 1 \(pid \d+\) → generation 2`)
	d.expect(t, `shop\.2 \| this is v1 .*\r?$`)
	if _, err := io.WriteString(master, "\x03"); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	d.expect(t, `segue \| SIGINT: stopping in order, for at most 30s; once more stops at once`)
	d.expect(t, `segue \| stopped shop in`)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v:\n%s", err, d)
	}
	if regexp.MustCompile(`\x1b\[[\d;]*m`).MatchString(d.String()) {
		t.Error("colour in spite of NO_COLOR")
	}
}

// TestWatch looks at `segue status --watch` on a terminal: the state is drawn
// anew when something happens, and is left there at the end.
func TestWatch(t *testing.T) {
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	env := append(os.Environ(), "SEGUE_RUNTIME_DIR="+dir, "GORACE=atexit_sleep_ms=0", "NO_COLOR=1", "TERM=xterm")
	segue := func(args ...string) *exec.Cmd {
		cmd := exec.Command("segue", args...)
		cmd.Env = env
		return cmd
	}
	supervisor := exec.Command("fake", "shop")
	supervisor.Env = env
	if err := supervisor.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { segue("stop").Run(); supervisor.Wait() }()
	for late := time.Now().Add(patience); segue("status").Run() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the supervisor does not answer")
		}
	}

	master, slave := openTerminal(t)
	watch := segue("status", "--watch")
	watch.Stdin, watch.Stdout, watch.Stderr = slave, slave, slave
	watch.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	d := &display{more: make(chan struct{}, 1)}
	read := make(chan struct{})
	go func() { io.Copy(d, master); close(read) }()
	defer func() { master.Close(); <-read }()

	d.expect(t, `\x1b\[\?1049h\x1b\[\?7l\x1b\[\?25l\x1b\[Hshop: supervisor pid \d+`)
	d.expect(t, `^db +serving +\S+ +1 +1001 +0 +db 127\.0\.0\.1:8080\x1b\[K\r?$`)
	if err := segue("restart", "db").Run(); err != nil {
		t.Fatal(err)
	}
	d.expect(t, `^db +serving +\S+ +2 +1002 +1 +db 127\.0\.0\.1:8080\x1b\[K\r?$`)
	if _, err := io.WriteString(master, "\x03"); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	d.expect(t, `\x1b\[\?25h\x1b\[\?7h\x1b\[\?1049lshop: supervisor pid \d+`)
	d.expect(t, `^db +serving +\S+ +2 +1002 +1 +db 127\.0\.0\.1:8080\r?$`)
	if err := watch.Wait(); err != nil {
		t.Errorf("it ended with %v:\n%s", err, d)
	}
}
