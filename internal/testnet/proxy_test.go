package testnet

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const oneWay = 5 * time.Millisecond

// through starts a listener, a proxy before it, and returns both ends of a
// connection through them, with the moment at which it was asked for.
func through(t *testing.T, o Options) (client, server net.Conn, began time.Time) {
	t.Helper()
	network, address := "tcp", "127.0.0.1:0"
	if o.Target != "" {
		network, address = split(o.Target)
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if o.Target == "" {
		o.Target = ln.Addr().String()
	}
	p, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	began = time.Now()
	client, err = net.Dial(split(p.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	deadline := time.Now().Add(20 * time.Second)
	client.SetDeadline(deadline)
	server.SetDeadline(deadline)
	return client, server, began
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func atLeast(t *testing.T, since time.Time, d time.Duration) {
	t.Helper()
	if got := time.Since(since); got < d {
		t.Errorf("arrived after %v, before the latency of %v", got, d)
	}
}

func TestBytesAreLate(t *testing.T) {
	client, server, began := through(t, Options{OneWay: oneWay})
	atLeast(t, began, oneWay)
	write(t, client, "ping")
	read(t, server, "ping")
	atLeast(t, began, 3*oneWay)
	for range 10 {
		sent := time.Now()
		write(t, server, "pong")
		read(t, client, "pong")
		atLeast(t, sent, oneWay)
		sent = time.Now()
		write(t, client, "ping")
		read(t, server, "ping")
		atLeast(t, sent, oneWay)
	}
}

// A pipe, not a lock-step: what is sent while the first byte is under way
// arrives after one latency too.
func TestDirectionsArePipes(t *testing.T) {
	client, server, _ := through(t, Options{OneWay: 200 * time.Millisecond})
	write(t, client, "x")
	read(t, server, "x")
	sent := time.Now()
	for range 50 {
		write(t, client, "x")
		write(t, server, "y")
	}
	for range 50 {
		read(t, server, "x")
		read(t, client, "y")
	}
	atLeast(t, sent, 200*time.Millisecond)
	if took := time.Since(sent); took > 5*time.Second {
		t.Errorf("100 messages under way at once took %v", took)
	}
}

func TestHalfClose(t *testing.T) {
	client, server, _ := through(t, Options{OneWay: oneWay})
	write(t, client, "question")
	sent := time.Now()
	closeWrite(client)
	read(t, server, "question")
	if n, err := server.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("after a FIN the server read %d, %v", n, err)
	}
	atLeast(t, sent, oneWay)
	// The other direction is still alive.
	for range 3 {
		write(t, server, "answer")
		read(t, client, "answer")
	}
	sent = time.Now()
	server.Close()
	if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("after a FIN the client read %d, %v", n, err)
	}
	atLeast(t, sent, oneWay)
}

func TestResetIsReset(t *testing.T) {
	for _, dir := range []string{"from server", "from client"} {
		t.Run(dir, func(t *testing.T) {
			client, server, _ := through(t, Options{OneWay: oneWay})
			write(t, client, "a")
			read(t, server, "a")
			from, to := server, client
			if dir == "from client" {
				from, to = client, server
			}
			write(t, from, "last words")
			sent := time.Now()
			abort(from)
			read(t, to, "last words")
			if _, err := to.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("after an RST: %v", err)
			}
			atLeast(t, sent, oneWay)
		})
	}
}

// The race a restart is about: the server has closed, the client writes before
// it can know, and must get the RST that the server's kernel answers with.
func TestResetAfterFIN(t *testing.T) {
	client, server, _ := through(t, Options{OneWay: oneWay})
	write(t, client, "a")
	read(t, server, "a")
	server.Close()
	sent := time.Now()
	write(t, client, "too late")
	if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d, %v; want the FIN first", n, err)
	}
	// Writes go through until the RST is here, one round trip later.
	for {
		if _, err := client.Write([]byte("x")); err != nil {
			if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("write: %v", err)
			}
			break
		}
	}
	atLeast(t, sent, 2*oneWay)
}

// The client has been told of the end and only listens; the RST that follows
// must be seen although nobody writes.
func TestResetAfterFINWithoutTraffic(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs poll(2), see the package documentation")
	}
	client, server, _ := through(t, Options{OneWay: oneWay})
	write(t, client, "a")
	read(t, server, "a")
	closeWrite(server)
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	abort(server)
	if !awaitReset(client) {
		t.Error("no RST arrived")
	}
}

// A receiver that does not read must not keep an RST from arriving.
func TestResetOvertakesStalledBytes(t *testing.T) {
	client, server, _ := through(t, Options{OneWay: oneWay})
	write(t, client, "a")
	read(t, server, "a")
	chunk := make([]byte, 64<<10)
	server.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	for {
		if _, err := server.Write(chunk); err != nil {
			break // every buffer on the way is full
		}
	}
	abort(server)
	_, err := io.Copy(io.Discard, client)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("after an RST: %v", err)
	}
}

func TestBigTransferBothWays(t *testing.T) {
	client, server, _ := through(t, Options{OneWay: oneWay})
	const size = 24 << 20
	up, down := make([]byte, size), make([]byte, size)
	rand.Read(up)
	rand.Read(down)
	var wg sync.WaitGroup
	send := func(c net.Conn, b []byte) {
		if _, err := c.Write(b); err != nil {
			t.Error(err)
		}
		closeWrite(c)
	}
	recv := func(c net.Conn, want []byte) {
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v: not what was sent", len(got), err)
		}
	}
	wg.Go(func() { send(client, up) })
	wg.Go(func() { send(server, down) })
	wg.Go(func() { recv(server, up) })
	wg.Go(func() { recv(client, down) })
	wg.Wait()
}

func TestRefusedUpstream(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close() // nobody listens there now
	p, err := Start(Options{OneWay: oneWay, Target: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	began := time.Now()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("refused upstream read as %v", err)
	}
	atLeast(t, began, 2*oneWay)
}

func TestUnixAndSetTarget(t *testing.T) {
	dir := t.TempDir()
	target := "unix:" + filepath.Join(dir, "a")
	client, server, _ := through(t, Options{OneWay: oneWay, Listen: "unix:" + filepath.Join(dir, "p"), Target: target})
	write(t, client, "over unix sockets")
	read(t, server, "over unix sockets")
	closeWrite(client)
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}

	one, two := answering(t, "one"), answering(t, "two")
	p, err := Start(Options{OneWay: oneWay, Target: one})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, step := range []struct{ target, want string }{{one, "one"}, {two, "two"}} {
		p.SetTarget(step.target)
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		read(t, c, step.want)
	}
}

// answering listens, and says the same to everybody.
func answering(t *testing.T, what string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, what)
			c.Close()
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func TestManyConnectionsAndClose(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(Options{OneWay: oneWay, Target: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	var servers sync.WaitGroup
	servers.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			servers.Go(func() { io.Copy(c, c); c.Close() })
		}
	})
	const n = 1000
	conns := make([]net.Conn, n)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", p.Addr()); err != nil {
			t.Fatal(err)
		}
		conns[i].SetDeadline(time.Now().Add(20 * time.Second))
	}
	for _, c := range conns {
		write(t, c, "echo")
	}
	for _, c := range conns {
		read(t, c, "echo")
	}
	if got := p.Conns(); got != n {
		t.Errorf("%d connections carried, want %d", got, n)
	}
	p.Close()
	for _, c := range conns {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("alive after Close")
		}
		c.Close()
	}
	if got := p.Conns(); got != 0 {
		t.Errorf("%d connections left after Close", got)
	}
	ln.Close()
	servers.Wait()
}
