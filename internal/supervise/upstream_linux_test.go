package supervise

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/testproc"
	"golang.org/x/sys/unix"
)

// above is systemd as far as NOTIFY_SOCKET goes.
type above struct {
	t    *testing.T
	conn *net.UnixConn
}

func newAbove(t *testing.T) *above {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &above{t, conn}
}

// hears the next message, and the descriptors that come with it.
func (a *above) hears() (assignments []string, files []int) {
	a.t.Helper()
	buf, oob := make([]byte, 4096), make([]byte, 512)
	a.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, oobn, _, _, err := a.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		a.t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		a.t.Fatal(err)
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil {
			files = append(files, fds...)
		}
	}
	return strings.Split(string(buf[:n]), "\n"), files
}

func (a *above) expects(want ...string) {
	a.t.Helper()
	got, _ := a.hears()
	for i, w := range want {
		if prefix, open := strings.CutSuffix(w, "*"); i < len(got) && (got[i] == w || open && strings.HasPrefix(got[i], prefix)) {
			continue
		}
		a.t.Fatalf("systemd is told %q, not %q", got, want)
	}
}

func (a *above) opens(problem func(error), sockets ...handover.Socket) *upstream {
	return newUpstream(handover.Inheritance{NotifySocket: a.conn.LocalAddr().String(), Watchdog: "200000", Sockets: sockets}, problem)
}

// listening is a socket as it is inherited or kept.
func listening(t *testing.T, name string) (handover.Socket, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := handover.Dup(ln.(syscall.Conn), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return handover.Socket{Name: name, File: f}, ln.Addr().String()
}

// TestUpstream: what systemd is told, in this order.
func TestUpstream(t *testing.T) {
	a := newAbove(t)
	u := a.opens(nil)
	u.ready("1 serving")
	a.expects("READY=1", "STATUS=1 serving")
	u.status("1 serving") // nothing new
	u.status("1 restarting")
	a.expects("STATUS=1 restarting")
	done, other := u.reloading(), u.reloading()
	a.expects("RELOADING=1", "MONOTONIC_USEC=*")
	a.expects("RELOADING=1", "MONOTONIC_USEC=*")
	done()
	done()
	u.status("rolled back")
	other()
	a.expects("STATUS=rolled back") // not ready before the last one is over
	a.expects("READY=1", "STATUS=rolled back")
	u.stopping()
	a.expects("STOPPING=1")
	if got, want := u.environ(), []string{"NOTIFY_SOCKET=" + a.conn.LocalAddr().String(), "WATCHDOG_USEC=200000"}; !slices.Equal(got, want) {
		t.Errorf("passed on: %q, want %q", got, want)
	}
	u.status("last words")
	if err := errors.Join(u.close(), u.close()); err != nil {
		t.Error(err)
	}
	a.expects("STATUS=last words")
	u.status("nobody hears this")
}

// TestUpstreamStore: a socket goes up once, comes back by its name, and what nobody
// wants is given up on both sides.
func TestUpstreamStore(t *testing.T) {
	a := newAbove(t)
	s, addr := listening(t, "web")
	first := a.opens(nil)
	defer first.close()
	name := storeName("shop", "web", addr)
	if err := errors.Join(first.store(name, s.File), first.store(name, s.File)); err != nil {
		t.Fatal(err)
	}
	said, files := a.hears()
	if !slices.Equal(said, []string{"FDSTORE=1", "FDNAME=" + name}) || len(files) != 1 {
		t.Fatalf("systemd is told %q with %d descriptors", said, len(files))
	}
	kept := os.NewFile(uintptr(files[0]), name)
	defer kept.Close()
	s.File.Close()

	stale, _ := listening(t, storeName("shop", "web", ":9"))
	unit, _ := listening(t, "admin")
	second := a.opens(nil, handover.Socket{Name: name, File: kept}, stale, unit)
	defer second.close()
	got := second.take(name, "shop/web", "web")
	if got == nil {
		t.Fatal("the socket is not there")
	}
	ln, err := handover.Socket{Name: "web", File: got}.Listener()
	if err != nil || ln.Addr().String() != addr {
		t.Fatalf("%v %v", ln, err)
	}
	ln.Close()
	if second.take(name) != nil {
		t.Error("the same socket was given twice")
	}
	if second.take(storeName("shop", "admin", ":1"), "shop/admin", "admin") != unit.File {
		t.Error("a socket unit's socket is not there")
	}
	if err := errors.Join(second.store(name, got), second.store(storeName("shop", "admin", ":1"), unit.File)); err != nil {
		t.Error(err)
	}
	if left := second.inherited(); !slices.Equal(left, []string{stale.Name}) {
		t.Errorf("left: %q", left)
	}
	second.drop()
	a.expects("FDSTOREREMOVE=1", "FDNAME="+stale.Name) // and nothing was stored a second time
	if err := stale.File.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("what nobody took is still open: %v", err)
	}
	second.forget(name)
	second.forget(name)
	second.stopping()
	a.expects("FDSTOREREMOVE=1", "FDNAME="+name)
	a.expects("STOPPING=1")
	if strings.ContainsAny(storeName("a", "b", "unix:/x y=z"), ": =") {
		t.Error("a name that LISTEN_FDNAMES could not hold")
	}
}

// TestUpstreamWatchdog: no ping without an answer.
func TestUpstreamWatchdog(t *testing.T) {
	a := newAbove(t)
	u := a.opens(nil)
	defer u.close()
	var well, asked atomic.Bool
	well.Store(true)
	stop := u.watch(func(ctx context.Context) bool {
		if !well.Load() {
			asked.Store(true)
			<-ctx.Done()
		}
		return well.Load()
	})
	a.expects("WATCHDOG=1")
	a.expects("WATCHDOG=1")
	well.Store(false)
	testproc.Until(t, "the loop is asked", asked.Load)
	u.status("hung")
	for {
		if said, _ := a.hears(); said[0] == "STATUS=hung" {
			break
		}
	}
	stop()
	u.stopping()
	a.expects("STOPPING=1") // and no ping before
}

// TestUpstreamNobody: everything can be said to nobody.
func TestUpstreamNobody(t *testing.T) {
	u := newUpstream(handover.Inheritance{}, func(err error) { t.Error(err) })
	s, _ := listening(t, "web")
	if err := u.store("shop/web", s.File); err != nil {
		t.Error(err)
	}
	u.ready("")
	u.reloading()()
	u.watch(func(context.Context) bool { t.Error("asked for nobody"); return false })()
	if u.take("web") != nil || u.environ() != nil {
		t.Error("something came from nobody")
	}
	if err := u.close(); err != nil {
		t.Error(err)
	}
}

// TestUpstreamGone: a systemd that cannot be reached is a problem once, and nobody
// waits for it.
func TestUpstreamGone(t *testing.T) {
	var problems atomic.Int32
	u := newUpstream(handover.Inheritance{NotifySocket: filepath.Join(t.TempDir(), "gone")}, func(error) { problems.Add(1) })
	u.ready("a")
	u.stopping()
	if err := u.close(); err != nil {
		t.Error(err)
	}
	if n := problems.Load(); n != 1 {
		t.Errorf("%d problems, want 1", n)
	}
}

// TestSummary is the line that systemctl status shows.
func TestSummary(t *testing.T) {
	web := client.Status{Service: "web", State: client.Serving}
	back := web
	back.LastReport = &client.Report{Outcome: client.RolledBack, Reason: "the new generation ended: exited with status 3; its last output was:\nx"}
	for want, services := range map[string][]client.Status{
		"nothing is supervised":                nil,
		"web: serving":                         {web},
		"web: failed: it crashed 5 times":      {{Service: "web", State: client.Failed, Reason: "it crashed 5 times; its last output was:\nlast words"}},
		"3 services: 2 serving, 1 backing off": {web, {Service: "a", State: client.BackingOff}, {Service: "b", State: client.Serving}},
		"2 services: 1 serving, 1 waiting; the last restart of web was rolled back: the new generation ended: exited with status 3": {back, {Service: "b", State: client.Waiting}},
	} {
		if got := summary(services); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
