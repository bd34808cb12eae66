package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func listenNotify(t testing.TB) (*NotifyListener, *Notifier) {
	t.Helper()
	l, err := ListenNotify(filepath.Join(t.TempDir(), "notify"))
	if err != nil {
		t.Fatal(err)
	}
	n := NewNotifier(l.Path())
	t.Cleanup(func() { n.Close(); l.Close() })
	return l, n
}

func TestNotify(t *testing.T) {
	l, n := listenNotify(t)
	if info, err := os.Stat(l.Path()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for i := range 3 {
		if err := n.Send("READY=1", fmt.Sprintf("STATUS=%d", i)); err != nil {
			t.Fatal(err)
		}
		got, err := l.Receive()
		got.Processed()
		if err != nil || got.PID != os.Getpid() || got.UID != os.Geteuid() || got.Values["READY"] != "1" || got.Values["STATUS"] != fmt.Sprint(i) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	path := l.Path()
	l.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := l.Receive(); !errors.Is(err, net.ErrClosed) || errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

// A supervisor that was replaced has another socket behind the same path.
func TestNotifierFindsNextSupervisor(t *testing.T) {
	l, n := listenNotify(t)
	if err := n.Send("READY=1"); err != nil {
		t.Fatal(err)
	}
	path := l.Path()
	l.Close()
	if err := n.Send("STATUS=nobody"); err == nil {
		t.Error("nobody heard it, and there was no error")
	}
	next, err := ListenNotify(path)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := n.Send("STATUS=still here"); err != nil {
		t.Fatal(err)
	}
	if got, err := next.Receive(); err != nil || got.Values["STATUS"] != "still here" {
		t.Errorf("%+v, %v", got, err)
	}
	// The same without a failure in between.
	next.Close()
	last, err := ListenNotify(path)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	if err := n.Send("STATUS=again"); err != nil {
		t.Fatal(err)
	}
	if got, err := last.Receive(); err != nil || got.Values["STATUS"] != "again" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAbstractNotifySocket(t *testing.T) {
	name := fmt.Sprintf("@segue-test-%d", os.Getpid())
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := NewNotifier(name)
	defer n.Close()
	if err := n.Send("READY=1"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if k, err := c.Read(buf); err != nil || string(buf[:k]) != "READY=1" {
		t.Errorf("%q, %v", buf[:k], err)
	}
}

// What is wrong with one datagram is told with its sender, and is the matter of
// that datagram only.
func TestMalformedNotifications(t *testing.T) {
	l, n := listenNotify(t)
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	send := func(data string, oob []byte) {
		t.Helper()
		if err := unix.Sendmsg(socket, []byte(data), oob, &unix.SockaddrUnix{Name: l.Path()}, 0); err != nil {
			t.Fatal(err)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	many := make([]int, 17)
	for i := range many {
		many[i] = int(w.Fd())
	}
	for _, bad := range []struct {
		data string
		oob  []byte
	}{
		{strings.Repeat("X=1\n", 1100), nil},
		{"\x00\x00", nil},
		{"", nil},
		{"FDSTORE=1", unix.UnixRights(many...)},
	} {
		send(bad.data, bad.oob)
		got, err := l.Receive()
		if !errors.Is(err, ErrMalformed) || got.PID != os.Getpid() || got.UID != os.Geteuid() {
			t.Errorf("%.20q: %+v, %v", bad.data, got, err)
		}
		if u := errors.Unwrap(err); u == nil || u.Error() != err.Error() {
			t.Errorf("unwrapped: %v", u)
		}
		got.Processed()
	}
	// Descriptors that are not for a barrier are not kept.
	send("FDSTORE=1", unix.UnixRights(int(w.Fd())))
	if got, err := l.Receive(); err != nil || got.Values["FDSTORE"] != "1" {
		t.Errorf("%+v, %v", got, err)
	}
	w.Close()
	if k, err := r.Read(make([]byte, 1)); k != 0 || err == nil {
		t.Errorf("a copy is still open: %d, %v", k, err)
	}
	full := "STATUS=" + strings.Repeat("x", maxNotification-7)
	if err := n.Send(full); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Receive(); err != nil || len(got.Values["STATUS"]) != maxNotification-7 {
		t.Errorf("%d bytes, %v", len(got.Values["STATUS"]), err)
	}
}

func TestBarrier(t *testing.T) {
	l, n := listenNotify(t)
	passed := make(chan error)
	go func() {
		n.Send("READY=1")
		passed <- n.Barrier(t.Context())
	}()
	for _, want := range []string{"READY", "BARRIER"} {
		got, err := l.Receive()
		if err != nil || got.Values[want] != "1" {
			t.Fatalf("%+v, %v", got, err)
		}
		select {
		case err := <-passed:
			t.Fatalf("passed before %s was processed: %v", want, err)
		default:
		}
		got.Processed()
		if want != "BARRIER" {
			continue
		}
		if err := <-passed; err != nil {
			t.Error(err)
		}
		// A second time it must not close whatever has the number now.
		var files []*os.File
		for range 8 {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, r, w)
		}
		got.Processed()
		for _, f := range files {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestBarrierThatNobodyProcesses(t *testing.T) {
	l, n := listenNotify(t)
	why := errors.New("no patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	passed := make(chan error)
	go func() { passed <- n.Barrier(ctx) }()
	got, err := l.Receive()
	if err != nil {
		t.Fatal(err)
	}
	cancel(why)
	if err := <-passed; !errors.Is(err, why) {
		t.Error(err)
	}
	got.Processed()
	if err := n.Barrier(ctx); !errors.Is(err, why) {
		t.Errorf("after the end of ctx: %v", err)
	}
	// The end of the supervisor ends a barrier, too.
	go func() { passed <- n.Barrier(t.Context()) }()
	if got, err := l.Receive(); err != nil || got.PID == 0 { // the one that was given up
		t.Error(err)
	} else {
		got.Processed()
	}
	l.Close()
	if err := <-passed; err != nil && !strings.Contains(err.Error(), "supervisor") {
		t.Error(err)
	}
}

// The real thing: a shell script that reports with systemd-notify, which waits
// at a barrier of its own.
func TestSystemdNotify(t *testing.T) {
	if _, err := exec.LookPath("systemd-notify"); err != nil {
		t.Skip("systemd-notify is not installed")
	}
	l, _ := listenNotify(t)
	p, err := Start(Command{
		Path: "/bin/sh", Args: []string{"sh", "-c", "systemd-notify --ready --status='from a script'; exec sleep 60"},
		Env: os.Environ(), Group: true, NotifySocket: l.Path(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { p.Signal(os.Kill); <-p.Done() }()
	stranger, err := Start(Command{Path: "/bin/sleep", Args: []string{"sleep", "60"}, Env: []string{}, Group: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { stranger.Signal(os.Kill); <-stranger.Done() }()
	seen := map[string]string{}
	for seen["BARRIER"] == "" {
		got, err := l.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if !p.Owns(got.PID) || stranger.Owns(got.PID) {
			t.Errorf("process %d speaks for %d, which it is not of; the stranger is %d", got.PID, p.PID, stranger.PID)
		}
		for k, v := range got.Values {
			seen[k] = v
		}
		got.Processed()
	}
	if seen["READY"] != "1" || seen["STATUS"] != "from a script" {
		t.Errorf("%q", seen)
	}
}
