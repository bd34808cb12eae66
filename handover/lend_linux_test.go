package handover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	children["lender"] = func() int { return exitCode(lender()) }
	children["thief"] = func() int { return exitCode(thief()) }
}

// listening are n sockets, whose names are "s0", "s1" and so on.
func listening(t testing.TB, n int) (all []Socket) {
	t.Helper()
	for i := range n {
		ln, err := Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		f, err := Dup(ln.(syscall.Conn), "s")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		all = append(all, Socket{Name: "s" + strconv.Itoa(i), File: f})
	}
	return all
}

func duplicates(all []Socket) (dups []Socket) {
	for _, s := range all {
		f, err := Dup(s.File, s.Name)
		if err != nil {
			panic(err)
		}
		dups = append(dups, Socket{s.Name, f})
	}
	return dups
}

func portOf(t testing.TB, s Socket) string {
	t.Helper()
	ln, err := s.Listener()
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// More sockets than travel with one answer arrive, in order and by name.
func TestBorrowOverALink(t *testing.T) {
	for _, n := range []int{0, 1, maxPacketFiles, maxPacketFiles + 1, 3*maxPacketFiles + 5} {
		own := listening(t, n)
		a, b := linked(t, refuse, func(_ context.Context, r Request) (Fields, error) { return LendSockets(r, duplicates(own)) })
		before := openFiles(t)
		got, err := a.Borrow(t.Context())
		if err != nil || len(got) != n {
			t.Fatalf("%d of %d, %v", len(got), n, err)
		}
		for i, s := range got {
			if s.Name != own[i].Name || portOf(t, s) != portOf(t, own[i]) || !nonblocking(s.File) {
				t.Errorf("%d is %q", i, s.Name)
			}
		}
		closeSockets(got)
		a.Close()
		b.Close()
		if now := openFiles(t); now > before-2 { // the ends of the link
			t.Errorf("%d sockets: %d descriptors, %d before", n, now, before)
		}
	}
}

// What a generation may answer to LEND does no harm, and leaves nothing behind.
func TestBorrowFromAHostileGeneration(t *testing.T) {
	own := listening(t, 3)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	give := func(f Fields, err error, files ...*os.File) Handler {
		return func(_ context.Context, r Request) (Fields, error) {
			for _, file := range files {
				d, bad := Dup(file, "x")
				if bad != nil {
					return nil, bad
				}
				r.Answer(d)
			}
			return f, err
		}
	}
	for says, h := range map[string]Handler{
		"no, thanks":                            give(nil, errors.New("no, thanks"), own[0].File),
		"it names 2 and sends 1":                give(Fields{"SOCKETS": "a:b", "LEFT": "0"}, nil, own[0].File),
		"it names 1 and sends 0":                give(Fields{"SOCKETS": "a", "LEFT": "0"}, nil),
		`cannot use "" as a socket name`:        give(Fields{"SOCKETS": "a", "LEFT": "0"}, nil, own[0].File, own[1].File),
		`cannot use "a b" as a socket name`:     give(Fields{"SOCKETS": "a b", "LEFT": "0"}, nil, own[0].File),
		"socket operation on non-socket":        give(Fields{"SOCKETS": "a", "LEFT": "0"}, nil, null),
		`it says that "" are left`:              give(Fields{"SOCKETS": "a"}, nil, own[0].File),
		`it says that "-1" are left`:            give(Fields{"SOCKETS": "a", "LEFT": "-1"}, nil, own[0].File),
		`it says that "1" are left, after 0`:    give(Fields{"LEFT": "1"}, nil),
		`it says that "9999" are left, after 1`: give(Fields{"SOCKETS": "a", "LEFT": "9999"}, nil, own[0].File),
		`it says that "1023" are left, after 2`: give(Fields{"SOCKETS": "a", "LEFT": "1023"}, nil, own[0].File),
		"at most 16 travel with one message":    give(Fields{"LEFT": "0"}, nil, make17(own[0].File)...),
		"its answer is lost":                    give(Fields{"lower": "0"}, nil, own[0].File),
	} {
		before := openFiles(t)
		a, b := linked(t, refuse, h)
		got, err := a.Borrow(t.Context())
		if err == nil || got != nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, %v", says, got, err)
		}
		a.Close()
		b.Close()
		if now := openFiles(t); now != before {
			t.Errorf("%s: %d descriptors, %d before", says, now, before)
		}
	}
}

func make17(f *os.File) (all []*os.File) {
	for range maxPacketFiles + 1 {
		all = append(all, f)
	}
	return all
}

func TestLendAfter(t *testing.T) {
	own := listening(t, 2)
	for after, says := range map[string]string{"x": "cannot lend", "-1": "cannot lend", "3": "there are 2", "99999999999999999999": "cannot lend"} {
		before := openFiles(t)
		f, err := LendSockets(Request{Verb: Lend, Fields: Fields{"AFTER": after}}, duplicates(own))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, %v", after, f, err)
		}
		if now := openFiles(t); now != before {
			t.Errorf("%s: %d descriptors, %d before", after, now, before)
		}
	}
}

// Descriptors of an answer that nobody wants any more, or never wanted, are closed.
func TestDescriptorsOfAnAnswerAreClosed(t *testing.T) {
	own := listening(t, 1)
	asked, answered, letGo := make(chan struct{}), make(chan struct{}), make(chan struct{})
	before := openFiles(t)
	a, b := linked(t, refuse, func(_ context.Context, r Request) (Fields, error) {
		if r.Verb == Check {
			close(asked)
			<-letGo
			defer close(answered)
		}
		r.Answer(duplicates(own)[0].File)
		return nil, nil
	})
	if _, err := a.Call(t.Context(), Lend, nil); err != nil { // not Fetch
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() {
		_, files, err := a.Fetch(ctx, Check, nil)
		Request{Files: files}.Close()
		gaveUp <- err
	}()
	<-asked
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(letGo)
	<-answered
	if _, err := a.Call(t.Context(), Open, nil); err != nil { // comes after it
		t.Error(err)
	}
	a.Close()
	b.Close()
	if now := openFiles(t); now != before {
		t.Errorf("%d descriptors, %d before", now, before)
	}
}

// lender is a program that does not speak the wire. It listens, and has other sockets.
func lender() error {
	dir := os.Getenv("HANDOVER_TEST_DIR")
	var keep []any
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", "unix:" + dir + "/s"} {
		ln, err := Listen(addr)
		if err != nil {
			fmt.Println(addr)
			continue // a machine without IPv6
		}
		f, err := Dup(ln.(syscall.Conn), "again") // two descriptors of one socket
		if err != nil {
			return err
		}
		keep = append(keep, ln, f)
		fmt.Println(JoinAddr(ln.Addr()))
	}
	// One that blocks, and others that are not to be borrowed.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 8)); err != nil {
		return err
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	fmt.Printf("127.0.0.1:%d\n", at.(*unix.SockaddrInet4).Port)
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	control, err := ListenControl(dir + "/control")
	if err != nil {
		return err
	}
	keep = append(keep, udp, control)
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, control.Close(), keep[0].(net.Listener).Close())
}

func TestBorrowFromAnyProgram(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	p, err := Start(Command{Path: exe, Args: []string{exe}, Env: append(os.Environ(), "HANDOVER_TEST=lender", "HANDOVER_TEST_DIR="+t.TempDir()), Stdin: in, Stdout: w, Stderr: os.Stderr})
	in.Close()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	t.Cleanup(func() { p.Signal(os.Kill); <-p.Done() })
	out := bufio.NewReader(r)
	want := map[string]string{}
	blocks := ""
	for i := range 4 {
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		blocks = strings.TrimSpace(line) // the last one
		if !strings.HasSuffix(blocks, ":0") {
			want[blocks] = "s" + strconv.Itoa(i)
		}
	}
	before := openFiles(t)
	var asked []string
	got, err := Borrow(p.PID, p.Started(), func(a net.Addr) string {
		asked = append(asked, JoinAddr(a))
		return want[JoinAddr(a)]
	})
	if err != nil || len(got) != len(want) || len(asked) != len(want) {
		t.Fatalf("%d of %d, %q, %v", len(got), len(want), asked, err)
	}
	for _, s := range got {
		if blocking := s.Name == want[blocks]; nonblocking(s.File) == blocking {
			t.Errorf("%s: its blocking mode was changed", s.Name)
		}
	}
	for _, s := range got { // from here on the test changes it
		if want[addrOf(t, s)] != s.Name {
			t.Errorf("%s is %s", addrOf(t, s), s.Name)
		}
	}
	// It is the same socket: who connects is accepted here too.
	ln, err := got[0].Listener()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	accepted.Close()
	ln.Close()
	closeSockets(got)
	none, err := Borrow(p.PID, p.Started(), func(net.Addr) string { return "" })
	if err != nil || len(none) != 0 {
		t.Errorf("%v, %v", none, err)
	}
	if now := openFiles(t); now != before {
		t.Errorf("%d descriptors, %d before", now, before)
	}
	if _, err := Borrow(p.PID, p.Started()+1, nil); !errors.Is(err, ErrProcessGone) {
		t.Error(err)
	}
	p.Signal(os.Kill)
	<-p.Done()
	if _, err := Borrow(p.PID, p.Started(), nil); !errors.Is(err, ErrProcessGone) {
		t.Error(err)
	}
}

func addrOf(t *testing.T, s Socket) string {
	t.Helper()
	ln, err := s.Listener()
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return JoinAddr(ln.Addr())
}

// thief borrows from a process of another user.
func thief() error {
	pid, _ := strconv.Atoi(os.Getenv("HANDOVER_TEST_PID"))
	started, err := StartTime(pid)
	if err != nil {
		return err
	}
	_, err = Borrow(pid, started, func(net.Addr) string { return "x" })
	fmt.Println(err)
	return nil
}

func TestBorrowSaysWhatIsInTheWay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: this needs root, to be somebody else")
	}
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "thief")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for at := filepath.Dir(dir); at != "/" && at != "."; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err != nil || info.Mode()&0o001 == 0 {
			t.Skipf("SKIPPED: nobody cannot enter %s; set TMPDIR", at)
		}
	}
	exe := filepath.Join(dir, "test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(exe, data, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "HANDOVER_TEST=thief", "HANDOVER_TEST_PID="+strconv.Itoa(os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "permission denied; ") || !strings.Contains(string(out), "CAP_SYS_PTRACE") {
		t.Errorf("%v: %s", err, out)
	}
}
