package handover

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Real processes: this binary, started over the wire, and steered over a link.

func init() {
	children["generation"] = func() int { return exitCode(generation()) }
	children["limited"] = func() int { return exitCode(limited()) }
}

func exitCode(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// birth is what a generation tells of what it was given.
type birth struct {
	PID, Generation, Predecessor int
	Names                        []string
	Before, Inherited, Serving   []bool // O_NONBLOCK of the sockets: at birth, after Inherit, with a listener
	CloseOnExec                  []bool
	Left                         []string // of the wire's environment
}

func nonblocking(c syscall.Conn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		panic(err)
	}
	var flags int
	if err := raw.Control(func(fd uintptr) { flags, _ = unix.FcntlInt(fd, unix.F_GETFL, 0) }); err != nil {
		panic(err)
	}
	return flags&unix.O_NONBLOCK != 0
}

// generation does what it is told until it is signalled, or the link ends.
func generation() error {
	var b birth
	for fd := 3; fd < 3+len(strings.Split(os.Getenv(EnvListenNames), ":")); fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		b.Before = append(b.Before, err == nil && flags&unix.O_NONBLOCK != 0)
	}
	in, err := Inherit()
	if err != nil {
		return err
	}
	for _, k := range wireEnv {
		if _, ok := os.LookupEnv(k); ok {
			b.Left = append(b.Left, k)
		}
	}
	b.PID, b.Generation, b.Predecessor = os.Getpid(), in.Generation, in.Predecessor
	for _, s := range in.Sockets {
		b.Names = append(b.Names, s.Name)
		flags, err := unix.FcntlInt(s.File.Fd(), unix.F_GETFD, 0)
		b.CloseOnExec = append(b.CloseOnExec, err == nil && flags&unix.FD_CLOEXEC != 0)
		b.Inherited = append(b.Inherited, nonblocking(s.File))
		ln, err := s.Listener()
		if err != nil {
			return err
		}
		b.Serving = append(b.Serving, nonblocking(ln.(syscall.Conn)))
		ln.Close()
	}
	peer, err := DialControl(context.Background(), in.Control)
	if err != nil {
		return err
	}
	var lock *SoloLock
	link := NewLink(peer, func(ctx context.Context, r Request) (f Fields, err error) {
		defer r.Close()
		switch r.Verb {
		case "BIRTH":
			data, err := json.Marshal(b)
			return Fields{"BIRTH": string(data)}, err
		case "TRY": // for the lock, once
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(ctx)
			cancel()
			fallthrough
		case "ACQUIRE":
			lock, err = AcquireSolo(ctx, in.Solo)
			return nil, err
		case "RELEASE":
			return nil, lock.Release()
		}
		return nil, errors.New("unknown")
	})
	<-link.Done()
	return link.Close()
}

// steered is a generation that was started, and the link to it.
func steered(t *testing.T, c Command) (*Process, *Link) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := ListenControl(filepath.Join(t.TempDir(), "control"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c.Path, c.Env = exe, append(os.Environ(), "HANDOVER_TEST=generation", "LISTEN_PID=1", "SEGUE_SOLO=1")
	c.Stdout, c.Stderr, c.Control = os.Stderr, os.Stderr, ln.Path()
	p, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Signal(os.Kill); <-p.Done() })
	go func() { <-p.Done(); ln.Close() }()
	peer, err := ln.Accept()
	if err != nil {
		t.Fatalf("%v; the generation %v", err, p.Err())
	}
	if !p.Owns(peer.PID) || peer.UID != os.Geteuid() {
		t.Fatalf("%+v", peer)
	}
	l := NewLink(peer, refuse)
	t.Cleanup(func() { l.Close() })
	return p, l
}

// A socket that is passed on stays non-blocking in both processes: otherwise an
// old process would sleep in accept(2) for ever, and take a client's connection
// in the middle of its leaving.
func TestPassedSocketsStayNonBlocking(t *testing.T) {
	var c Command
	var listeners []net.Listener
	for _, addr := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		ln, err := Listen(addr)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		f, err := Dup(ln.(syscall.Conn), "web")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if !nonblocking(f) || !nonblocking(ln.(syscall.Conn)) {
			t.Errorf("%s: blocking after Dup", addr)
		}
		listeners = append(listeners, ln)
		c.Sockets = append(c.Sockets, Socket{ln.Addr().Network(), f})
	}
	solo, err := NewSoloLock()
	if err != nil {
		t.Fatal(err)
	}
	defer solo.Close()
	c.Solo, c.Generation, c.Predecessor = solo, 7, os.Getpid()
	p, l := steered(t, c)
	f, err := l.Call(t.Context(), "BIRTH", nil)
	if err != nil {
		t.Fatal(err)
	}
	var b birth
	if err := json.Unmarshal([]byte(f["BIRTH"]), &b); err != nil {
		t.Fatal(err)
	}
	yes := []bool{true, true}
	want := birth{PID: p.PID, Generation: 7, Predecessor: os.Getpid(), Names: []string{"tcp", "unix"}, Before: yes, Inherited: yes, Serving: yes, CloseOnExec: yes}
	if got := fmt.Sprintf("%+v", b); got != fmt.Sprintf("%+v", want) {
		t.Errorf("%s\nwant\n%+v", got, want)
	}
	p.Signal(os.Kill)
	<-p.Done()
	if _, err := os.Lstat(listeners[1].Addr().String()); err != nil {
		t.Errorf("the generation has removed the path of a socket that others serve: %v", err)
	}
	for i, ln := range listeners {
		if !nonblocking(ln.(syscall.Conn)) || !nonblocking(c.Sockets[i].File) {
			t.Errorf("%v has become blocking", ln.Addr())
		}
	}
}

// Three processes and one lock: whatever happens to the holder, one of the
// others gets it, and never two have it.
func TestSoloLock(t *testing.T) {
	solo, err := NewSoloLock()
	if err != nil {
		t.Fatal(err)
	}
	defer solo.Close()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	var ps [3]*Process
	var links [3]*Link
	for i := range ps {
		ps[i], links[i] = steered(t, Command{Solo: solo, Generation: i + 1})
	}
	call := func(i int, v Verb) error {
		_, err := links[i].Call(t.Context(), v, nil)
		return err
	}
	nobody := func(but int) {
		t.Helper()
		for i := range links {
			if i == but || ps[i].Err() != nil {
				continue
			}
			if call(i, "TRY") == nil {
				t.Errorf("%d has the lock, and so has %d", but, i)
			}
		}
		if _, err := AcquireSolo(over, solo); !errors.Is(err, context.Canceled) {
			t.Errorf("%d has the lock, and so has this process: %v", but, err)
		}
	}
	if err := call(0, "ACQUIRE"); err != nil {
		t.Fatal(err)
	}
	nobody(0)
	// The holder is killed.
	got := make(chan error)
	go func() { got <- call(1, "ACQUIRE") }()
	ps[0].Signal(os.Kill)
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	<-ps[0].Done()
	nobody(1)
	// The holder lets go.
	go func() { got <- call(2, "ACQUIRE") }()
	if err := call(1, "RELEASE"); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	nobody(2)
	// The last holder is killed, and the lock is this process's.
	ps[2].Signal(os.Kill)
	<-ps[2].Done()
	lock, err := AcquireSolo(t.Context(), solo)
	if err != nil {
		t.Fatal(err)
	}
	if err := call(1, "TRY"); err == nil {
		t.Error("two have the lock")
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
	if err := call(1, "TRY"); err != nil {
		t.Error(err)
	}
}

// A process at its limit of open files keeps its links and its listener. The
// limit is the whole process's: this runs in one of its own.
func TestAtTheLimitOfOpenFiles(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p, err := Start(Command{Path: exe, Env: append(os.Environ(), "HANDOVER_TEST=limited", "TMPDIR="+t.TempDir()), Stdout: out, Stderr: out})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if p.ExitCode() != 0 {
		data, _ := os.ReadFile(out.Name())
		t.Errorf("%v: %s", p.Err(), data)
	}
}

func limited() error {
	ctx := context.Background()
	ln, err := ListenControl(filepath.Join(os.TempDir(), "control"))
	if err != nil {
		return err
	}
	defer ln.Close()
	files := make(chan int, 1)
	accept := func() (*Link, error) {
		p, err := ln.Accept()
		if err != nil {
			return nil, err
		}
		return NewLink(p, func(_ context.Context, r Request) (Fields, error) {
			files <- len(r.Files)
			r.Close()
			return nil, nil
		}), nil
	}
	dialled, err := DialControl(ctx, ln.Path())
	if err != nil {
		return err
	}
	client := NewLink(dialled, nil)
	defer client.Close()
	server, err := accept()
	if err != nil {
		return err
	}
	defer server.Close()
	waiting, err := DialControl(ctx, ln.Path())
	if err != nil {
		return err
	}
	defer waiting.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()

	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		return err
	}
	lowest, err := unix.Dup(0)
	if err != nil {
		return err
	}
	unix.Close(lowest)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(lowest), Max: before.Max}); err != nil {
		return err
	}
	if _, err := client.Call(ctx, Probe, nil, r); err == nil || !strings.Contains(err.Error(), "ulimit -n") {
		return fmt.Errorf("a call with a file: %v", err)
	}
	if _, err := client.Call(ctx, Check, nil); err != nil || <-files != 0 {
		return fmt.Errorf("then a call without one: %v", err)
	}
	type accepted struct {
		l   *Link
		err error
	}
	second := make(chan accepted, 1)
	go func() { l, err := accept(); second <- accepted{l, err} }()
	for stack := make([]byte, 1<<20); !pausing(stack[:runtime.Stack(stack, true)]); { // accept has failed for the want of a descriptor
		select {
		case a := <-second:
			return fmt.Errorf("accepted at the limit: %v", a.err)
		default:
			runtime.Gosched()
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		return err
	}
	a := <-second
	if a.err != nil {
		return a.err
	}
	defer a.l.Close()
	if _, err := client.Call(ctx, Probe, nil, r, w); err != nil || <-files != 2 {
		return fmt.Errorf("with room again: %v", err)
	}
	return nil
}

// pausing says whether a goroutine is in the pause of Accept.
func pausing(stacks []byte) bool {
	for g := range bytes.SplitSeq(stacks, []byte("\n\n")) {
		if bytes.Contains(g, []byte("[select")) && bytes.Contains(g, []byte("(*ControlListener).Accept")) {
			return true
		}
	}
	return false
}

// A supervisor of another user is not trusted. Who listens is whose the socket
// is at listen(2): one thread takes on another user for that call.
func TestForeignSupervisorIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to act as somebody else")
	}
	path := filepath.Join(t.TempDir(), "control")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		const nobody = 65534
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0)); errno != 0 {
			done <- errno
			return
		}
		done <- unix.Listen(fd, 1)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	p, err := DialControl(t.Context(), path)
	if err == nil {
		p.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "cannot trust the supervisor") || !strings.Contains(err.Error(), "65534") {
		t.Error(err)
	}
}
