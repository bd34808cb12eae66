package conns

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

type accepted struct {
	c   net.Conn
	err error
}

// acceptLoop accepts until an error, like a server.
func acceptLoop(t *testing.T, g *Gate) <-chan accepted {
	out, done := make(chan accepted, 64), make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := g.Accept()
			out <- accepted{c, err}
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	t.Cleanup(func() { g.Close(); <-done })
	return out
}

func TestGateShutLeavesClientsInTheBacklog(t *testing.T) {
	g := NewGate(listen(t))
	out := acceptLoop(t, g)
	dial(t, g.Addr())
	<-out

	for range 50 {
		g.Shut()
		g.Shut()
		waiting := dial(t, g.Addr())
		// The injected connection overtakes the one in the backlog: Accept is
		// alive, and accepts nothing.
		near, far := net.Pipe()
		defer far.Close()
		if err := g.Inject(near); err != nil {
			t.Fatal(err)
		}
		if a := <-out; a.c != near {
			t.Fatalf("accepted %v while shut", a)
		}
		g.Open()
		if a := <-out; a.err != nil || a.c.RemoteAddr().String() != waiting.LocalAddr().String() {
			t.Fatalf("after Open: %v", a)
		}
	}
}

func TestGateInjectWhileOpen(t *testing.T) {
	g := NewGate(listen(t))
	out := acceptLoop(t, g)
	for range 200 {
		near, far := net.Pipe()
		defer far.Close()
		g.Inject(near)
		if a := <-out; a.c != near {
			t.Fatalf("got %v", a)
		}
	}
}

func TestGateCloseReleasesAParkedAccept(t *testing.T) {
	g := NewGate(listen(t))
	out := acceptLoop(t, g)
	g.Shut()
	for range 2 {
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if a := <-out; !errors.Is(a.err, net.ErrClosed) {
		t.Fatalf("Accept: %v", a.err)
	}
	if err := g.Inject(nil); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Inject: %v", err)
	}
	g.Open()
	g.Shut()
}

func TestGateCloseClosesWhatWasNeverAccepted(t *testing.T) {
	g := NewGate(listen(t))
	near, far := net.Pipe()
	g.Inject(near)
	g.Close()
	if _, err := far.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the injected connection is still open: %v", err)
	}
}

func TestGateUnixPathStaysUnlessAsked(t *testing.T) {
	for _, unlink := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "s")
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		g := NewGate(ln)
		out := acceptLoop(t, g)
		g.Shut()
		g.Open()
		dial(t, g.Addr())
		if a := <-out; a.err != nil {
			t.Fatal(a.err)
		}
		if unlink {
			g.SetUnlinkOnClose(true)
		}
		g.Close()
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) != unlink {
			t.Errorf("unlink %v, yet: %v", unlink, err)
		}
	}
}

// script is a listener without deadlines that plays back errors.
type script struct {
	errs []error
	net.Listener
}

func (s *script) Accept() (net.Conn, error) {
	err := s.errs[0]
	s.errs = s.errs[1:]
	if err != nil {
		return nil, err
	}
	c, _ := net.Pipe()
	return c, nil
}
func (s *script) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "script"} }
func (s *script) Close() error   { return nil }

func acceptErr(errno syscall.Errno) error {
	return &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", errno)}
}

func TestGateAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		g := NewGate(&script{errs: []error{
			acceptErr(syscall.EMFILE), acceptErr(syscall.ENOBUFS), acceptErr(syscall.ECONNABORTED), nil,
			acceptErr(syscall.EINVAL), io.ErrUnexpectedEOF,
		}})
		g.OnError = func(err error) { told = append(told, err) }
		start := time.Now()
		if _, err := g.Accept(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != (5+10+20)*time.Millisecond || len(told) != 3 {
			t.Errorf("accepted after %v and %d errors", d, len(told))
		}
		for _, want := range []error{syscall.EINVAL, io.ErrUnexpectedEOF} {
			if _, err := g.Accept(); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
	})
}

func TestGateShutEndsThePauseAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		for range 100 {
			s.errs = append(s.errs, acceptErr(syscall.EMFILE))
		}
		g := NewGate(s)
		done := make(chan error)
		go func() { _, err := g.Accept(); done <- err }()
		time.Sleep(3*time.Second + time.Millisecond) // of the bubble's time
		synctest.Wait()
		if n := len(s.errs); n < 85 {
			t.Errorf("%d accepts in 3 s: the pause does not grow", 100-n)
		}
		start := time.Now()
		g.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		synctest.Wait()
	})
}

func TestGateSurvivesADeadlineThatIsNotItsOwn(t *testing.T) {
	ln := listen(t).(*net.TCPListener)
	ln.SetDeadline(time.Unix(1, 0))
	g := NewGate(ln)
	out := acceptLoop(t, g)
	dial(t, g.Addr())
	if a := <-out; a.err != nil {
		t.Fatal(a.err)
	}
	ln.SetDeadline(time.Unix(1, 0))
	dial(t, g.Addr())
	if a := <-out; a.err != nil {
		t.Fatal(a.err)
	}
}
