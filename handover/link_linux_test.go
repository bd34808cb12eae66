package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketpair is the two ends of a control connection.
func socketpair(t testing.TB) (a, b *Peer) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var peers [2]*Peer
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if peers[i], err = newPeer(c.(*net.UnixConn)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	return peers[0], peers[1]
}

// linked is two links to each other, closed at the end of the test.
func linked(t testing.TB, ha, hb Handler) (a, b *Link) {
	t.Helper()
	pa, pb := socketpair(t)
	a, b = NewLink(pa, ha), NewLink(pb, hb)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// half is a link whose other end is the test.
func half(t testing.TB, h Handler) (*Link, *net.UnixConn) {
	t.Helper()
	pa, pb := socketpair(t)
	l := NewLink(pa, h)
	t.Cleanup(func() { l.Close() })
	return l, pb.conn
}

func refuse(context.Context, Request) (Fields, error) { return nil, errors.New("not expected") }

func hear(t testing.TB, c *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, maxMessage)
	n, err := c.Read(buf)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func say(t testing.TB, c *net.UnixConn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func openFiles(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestCallsInBothDirections(t *testing.T) {
	echo := func(_ context.Context, r Request) (Fields, error) {
		if r.Verb == Stop {
			return Fields{"WHY": "x"}, fmt.Errorf("cannot stop %s", r.Fields["N"])
		}
		return Fields{"N": r.Fields["N"]}, nil
	}
	a, b := linked(t, echo, echo)
	var wg sync.WaitGroup
	for i := range 100 {
		l := []*Link{a, b}[i%2]
		wg.Go(func() {
			n := fmt.Sprint(i)
			if f, err := l.Call(t.Context(), Check, Fields{"N": n}); err != nil || f["N"] != n {
				t.Errorf("%s: %v, %v", n, f, err)
			}
			f, err := l.Call(t.Context(), Stop, Fields{"N": n})
			if err == nil || err.Error() != "cannot stop "+n || f["WHY"] != "x" {
				t.Errorf("%s: %v, %v", n, f, err)
			}
		})
	}
	wg.Wait()
}

// A request that takes long does not hold up the ones behind it.
func TestStopOvertakesPause(t *testing.T) {
	stopped := make(chan struct{})
	a, _ := linked(t, refuse, func(ctx context.Context, r Request) (Fields, error) {
		if r.Verb == Stop {
			close(stopped)
			return nil, nil
		}
		<-stopped
		return nil, nil
	})
	paused := make(chan error)
	go func() { _, err := a.Call(t.Context(), Pause, nil); paused <- err }()
	if _, err := a.Call(t.Context(), Stop, nil); err != nil {
		t.Error(err)
	}
	if err := <-paused; err != nil {
		t.Error(err)
	}
}

func TestPeerGoesMidCall(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	a, b := linked(t, refuse, func(ctx context.Context, r Request) (Fields, error) {
		close(entered)
		<-ctx.Done()
		close(left)
		return nil, nil
	})
	failed := make(chan error)
	go func() { _, err := a.Call(t.Context(), Drain, nil); failed <- err }()
	<-entered
	b.Close()
	select {
	case <-left:
	default:
		t.Error("Close has not waited for the request under way")
	}
	if err := <-failed; err != nil {
		t.Errorf("what has happened was not answered: %v", err)
	}
	<-a.Done()
	if _, err := a.Call(t.Context(), Drain, nil); !errors.Is(err, ErrLinkClosed) {
		t.Errorf("after the end: %v", err)
	}
	for range 2 {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A process that answers STOP and exits has answered.
func TestAnswerAndExit(t *testing.T) {
	for range 30 {
		l, c := half(t, refuse)
		go func() {
			c.Read(make([]byte, 100))
			c.Write([]byte("SEGUE=1\nRE=1\nA=b\n"))
			c.Close()
		}()
		if f, err := l.Call(late{t.Context(), l}, Stop, nil); err != nil || f["A"] != "b" {
			t.Fatalf("%v, %v", f, err)
		}
		l.Close()
	}
}

// late is a context that has Call look for its answer when the link has ended.
type late struct {
	context.Context
	l *Link
}

func (c late) Done() <-chan struct{} {
	<-c.l.Done()
	return nil
}

func TestCallAndItsContext(t *testing.T) {
	l, c := half(t, refuse)
	why := errors.New("somebody changed their mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error)
	go func() { _, err := l.Call(ctx, Open, nil); failed <- err }()
	if got := hear(t, c); got != "SEGUE=1\nID=1\nDO=OPEN\n" {
		t.Errorf("%q", got)
	}
	cancel(why)
	if err := <-failed; !errors.Is(err, why) {
		t.Error(err)
	}
	if _, err := l.Call(ctx, Pause, nil); !errors.Is(err, why) {
		t.Error(err)
	}
	say(t, c, "SEGUE=1\nRE=1\n")  // too late
	say(t, c, "SEGUE=1\nRE=77\n") // to nothing
	go func() { _, err := l.Call(t.Context(), Open, nil); failed <- err }()
	if got := hear(t, c); got != "SEGUE=1\nID=2\nDO=OPEN\n" {
		t.Errorf("a call whose context had ended was sent: %q", got)
	}
	say(t, c, "SEGUE=1\nRE=2\n")
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

// Whatever a peer says wrongly ends the link, for both sides, with a reason.
func TestNonsense(t *testing.T) {
	for said, want := range map[string]string{
		"hello":                        "not complete",
		"SEGUE=2\nID=1\nDO=HELLO\n":    `speaks version "2"`,
		"SEGUE=1\nRE=1\nERROR=\\q\n":   "not KEY=VALUE",
		"SEGUE=1\nID=1\nDO=open\n":     "not a verb",
		strings.Repeat("x", 65<<10):    "more than 65536",
		"SEGUE=1\nRE=0\nERROR=tired\n": "it said: tired",
	} {
		l, c := half(t, refuse)
		failed := make(chan error)
		go func() { _, err := l.Call(t.Context(), Trial, nil); failed <- err }()
		hear(t, c)
		say(t, c, said)
		if err := <-failed; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("after %.30q the call ends with %v; want %q in it", said, err, want)
		}
		<-l.Done()
		if answer := hear(t, c); answer != "" {
			m, err := decode([]byte(answer))
			if err != nil || m.ID != 0 || !strings.Contains(m.Err, want) {
				t.Errorf("after %.30q the peer is told %q, %v", said, answer, err)
			}
			answer = hear(t, c)
			if answer != "" {
				t.Errorf("then %q", answer)
			}
		}
		l.Close()
	}
}

// Two versions that meet both say so.
func TestVersionsMeet(t *testing.T) {
	l, c := half(t, refuse)
	failed := make(chan error)
	go func() { _, err := l.Call(t.Context(), Hello, nil); failed <- err }()
	hear(t, c)
	say(t, c, "SEGUE=9\nRE=0\nERROR=cannot talk to this peer\n")
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "upgrade the older") {
		t.Error(err)
	}
	l, c = half(t, refuse)
	say(t, c, "SEGUE=9\nHELLO, said in a way of the future\n")
	<-l.Done()
	if got := hear(t, c); !strings.HasPrefix(got, "SEGUE=1\nRE=0\nERROR=") || !strings.Contains(got, "upgrade the older") {
		t.Errorf("%q", got)
	}
}

func TestErrorsOfHandlersArrive(t *testing.T) {
	answers := map[string]error{
		"A": errors.New(""), "B": errors.New("\xff\x00"), "C": errors.New(strings.Repeat("stack\n", 20<<10)), "D": nil, "E": nil,
	}
	a, _ := linked(t, refuse, func(_ context.Context, r Request) (Fields, error) {
		switch r.Verb {
		case "D":
			return Fields{"lower": "case"}, nil
		case "E":
			return Fields{"X": strings.Repeat("x", maxMessage)}, nil
		}
		return nil, answers[string(r.Verb)]
	})
	for verb, want := range map[Verb]string{"A": "without saying why", "B": "\uFFFD", "C": "stack\nstack", "D": "its answer is lost", "E": "its answer is lost"} {
		if _, err := a.Call(t.Context(), verb, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %.80v", verb, err)
		}
	}
}

func TestWhatCannotBeSentHarmsNothing(t *testing.T) {
	a, _ := linked(t, refuse, func(context.Context, Request) (Fields, error) { return nil, nil })
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	gone, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	other.Close()
	many := make([]*os.File, maxPacketFiles+1)
	for i := range many {
		many[i] = r
	}
	for what, call := range map[string]func() error{
		"at most 65536": func() error {
			_, err := a.Call(t.Context(), Account, Fields{"REPORT": strings.Repeat("x", maxMessage)})
			return err
		},
		"at most 16":  func() error { _, err := a.Call(t.Context(), Probe, nil, many...); return err },
		"closed file": func() error { _, err := a.Call(t.Context(), Probe, nil, gone); return err },
		"verb":        func() error { _, err := a.Call(t.Context(), "no verb", nil); return err },
	} {
		err := call()
		if err == nil || errors.Is(err, ErrLinkClosed) || !strings.Contains(err.Error(), what) {
			t.Errorf("%v; want %q in it", err, what)
		}
	}
	if _, err := a.Call(t.Context(), Check, nil); err != nil {
		t.Error(err)
	}
}

func TestFilesTravel(t *testing.T) {
	a, _ := linked(t, refuse, func(_ context.Context, r Request) (Fields, error) {
		defer r.Close()
		for i, f := range r.Files {
			if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				return nil, fmt.Errorf("not close-on-exec: %x, %v", flags, err)
			}
			if _, err := fmt.Fprintf(f, "%d", i); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	before := openFiles(t)
	for range 20 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Call(t.Context(), Probe, nil, w, w, w); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if data, err := io.ReadAll(r); err != nil || string(data) != "012" {
			t.Fatalf("%q, %v", data, err)
		}
		r.Close()
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// Descriptors that nobody asked for are closed: with an answer, with nonsense,
// with an empty datagram.
func TestStrayFilesAreClosed(t *testing.T) {
	for _, said := range []string{"SEGUE=1\nRE=5\n", "nonsense", ""} {
		l, c := half(t, refuse)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if said != "" {
			err = writePacket(c, []byte(said), []*os.File{w})
		} else {
			err = sendNothing(c, w)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		if data, err := io.ReadAll(r); err != nil || len(data) > 0 { // EOF: every copy is closed
			t.Errorf("%q, %v", data, err)
		}
		r.Close()
		l.Close()
	}
}

// sendNothing sends an empty datagram with a file. WriteMsgUnix would add a byte.
func sendNothing(c *net.UnixConn, f *os.File) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	oob := unix.UnixRights(int(f.Fd()))
	h := unix.Msghdr{Control: &oob[0]}
	h.SetControllen(len(oob))
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&h)), unix.MSG_NOSIGNAL)
	})
	runtime.KeepAlive(oob)
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}

func TestControlSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "control")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	ln, err := ListenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || ln.Path() != path {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	dialled := make(chan *Peer, 1)
	go func() {
		p, err := DialControl(t.Context(), path)
		if err != nil {
			t.Error(err)
		}
		dialled <- p
	}()
	p, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	other := <-dialled
	for _, p := range []*Peer{p, other} {
		if p.PID != os.Getpid() || p.UID != os.Geteuid() {
			t.Errorf("%+v", p)
		}
	}
	server := NewLink(p, func(context.Context, Request) (Fields, error) { return Fields{"X": "y"}, nil })
	client := NewLink(other, refuse)
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	if f, err := client.Call(t.Context(), Hello, nil); err != nil || f["X"] != "y" {
		t.Errorf("after the listener was closed: %v, %v", f, err)
	}
	client.Close()
	<-server.Done()
	server.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if _, err := DialControl(t.Context(), path); err == nil || !strings.Contains(err.Error(), "cannot reach the supervisor") {
		t.Error(err)
	}
}

// Both kinds of sockets leave alone what is not theirs.
func TestSocketPathsInTheWay(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file: "not a socket", link: "not a socket", dir: "not a socket",
		filepath.Join(dir, "no", "such"):             "no such file",
		filepath.Join(dir, strings.Repeat("x", 100)): "at most 107",
	} {
		if l, err := ListenControl(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("control at %s: %v, %v", path, l, err)
		}
		if l, err := ListenNotify(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("notify at %s: %v, %v", path, l, err)
		}
	}
	if data, err := os.ReadFile(link); err != nil || string(data) != "mine" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestCloseAnswers: who has asked for the end hears that it has begun, though the
// other side then closes the link at once.
func TestCloseAnswers(t *testing.T) {
	for range 50 {
		path := filepath.Join(t.TempDir(), "control")
		ln, err := ListenControl(path)
		if err != nil {
			t.Fatal(err)
		}
		handled := make(chan struct{})
		go func() {
			p, err := DialControl(context.Background(), path)
			if err != nil {
				close(handled)
				t.Error(err)
				return
			}
			l := NewLink(p, func(ctx context.Context, _ Request) (Fields, error) {
				close(handled)
				<-ctx.Done() // Close has begun
				return nil, nil
			})
			<-handled
			l.Close()
		}()
		p, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		l := NewLink(p, nil)
		if _, err := l.Call(t.Context(), Stop, nil); err != nil {
			t.Errorf("STOP: %v", err)
		}
		l.Close()
		ln.Close()
	}
}

// TestGateVerbsInOrder: RESUME does not overtake a PAUSE that the caller has
// given up, as it would after SIGSTOP and SIGCONT; a STOP does.
func TestGateVerbsInOrder(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	handled := make(chan Verb, 3)
	a, _ := linked(t, nil, func(_ context.Context, r Request) (Fields, error) {
		if r.Verb == Pause {
			close(begun)
			<-release
		}
		handled <- r.Verb
		return nil, nil
	})
	short, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() { _, err := a.Call(short, Pause, nil); gaveUp <- err }()
	<-begun
	if _, err := a.Call(t.Context(), Stop, nil); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-gaveUp; err == nil {
		t.Fatal("PAUSE was answered")
	}
	resumed := make(chan error)
	go func() { _, err := a.Call(t.Context(), Resume, nil); resumed <- err }()
	if v := <-handled; v != Stop {
		t.Fatalf("%s came first", v)
	}
	close(release)
	if err := <-resumed; err != nil {
		t.Fatal(err)
	}
	if first, second := <-handled, <-handled; first != Pause || second != Resume {
		t.Errorf("%s came before %s", first, second)
	}
}
