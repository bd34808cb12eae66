package tls13

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// expectMessages reads records that the server sent.
func (p *peer) expectMessages(from io.Reader, want ...message) {
	p.t.Helper()
	for _, w := range want {
		if got, err := p.receive(from); err != nil || got != w {
			p.t.Fatalf("received %v, %v, not %v", got, err, w)
		}
	}
}

var answer = message{typeHandshake, string(append(keyUpdate[:], 0))}

func data(text string) message       { return message{typeApplicationData, text} }
func alert(level, what byte) message { return message{typeAlert, string([]byte{level, what})} }

// The answer to any number of requests is one KeyUpdate before the next data, also
// when the connection moves in between.
func TestKeyUpdate(t *testing.T) {
	s, p := newPeer(t)
	c, wire := resume(t, s)
	wire.in.put(p.update(0))
	wire.in.put(p.seal(typeApplicationData, "a"))
	if err := expect(c, "a"); err != nil {
		t.Fatal(err)
	}
	if err := pass(c, readerOf(p, wire), "not asked"); err != nil {
		t.Fatal(err)
	}
	wire.in.put(p.update(1))
	wire.in.put(p.update(1))
	wire.in.put(p.seal(typeApplicationData, "b"))
	if err := expect(c, "b"); err != nil {
		t.Fatal(err)
	}
	if len(wire.out.data) != 0 {
		t.Error("the reader wrote")
	}
	if s = stateOf(t, c); !(*s.hidden).Owed {
		t.Error("the answer is not owed")
	}
	c, wire = resume(t, s)
	for _, text := range []string{"first", "second"} {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	p.expectMessages(wireBack{wire}, answer, data("first"), data("second"))
	if (*stateOf(t, c).hidden).Owed {
		t.Error("the answer is owed still")
	}
}

// readerOf reads data as the peer.
func readerOf(p *peer, wire *end) io.Reader {
	return readerFunc(func(b []byte) (int, error) {
		m, err := p.receive(wireBack{wire})
		return copy(b, m.data), err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestKeyIsChangedInTime(t *testing.T) {
	s, p := newPeer(t)
	(*s.hidden).OutSeq, p.in.seq = rekeyAfter-1, rekeyAfter-1
	c, wire := resume(t, s)
	if _, err := c.Write(make([]byte, 2*maxPlaintext+1)); err != nil {
		t.Fatal(err)
	}
	full := data(string(make([]byte, maxPlaintext)))
	p.expectMessages(wireBack{wire}, full, answer, full, data("\x00"))
}

func TestSequenceNumbersEnd(t *testing.T) {
	s, p := newPeer(t)
	(*s.hidden).InSeq, p.out.seq = 1<<64-2, 1<<64-2
	c, wire := resume(t, s)
	wire.in.put(p.seal(typeApplicationData, "last"))
	wire.in.put(p.seal(typeApplicationData, "over"))
	if err := expect(c, "last"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 9)); err == nil || isTimeout(err) {
		t.Errorf("read on: %v", err)
	}
	p.expectMessages(wireBack{wire}, alert(2, byte(alertInternalError)))
}

// stuck is a connection over a pipe whose other end nobody reads, with a Write
// under way, and the end of that Write.
func stuck(t *testing.T, text string) (c *Conn, p *peer, far net.Conn, done chan error) {
	t.Helper()
	s, p := newPeer(t)
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	if err := far.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	wire := &watched{Conn: near, began: make(chan struct{}, 9)}
	c, err := Resume(wire, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	done = make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, text)
		done <- err
	}()
	<-wire.began
	return c, p, far, done
}

// watched tells when a Write begins.
type watched struct {
	net.Conn
	began chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.began <- struct{}{}
	return w.Conn.Write(p)
}

func TestReaderDoesNotWaitForWriter(t *testing.T) {
	c, p, far, done := stuck(t, "stuck")
	go far.Write(append(p.update(1), p.seal(typeApplicationData, "go on")...))
	if err := expect(c, "go on"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.State(); err == nil {
		t.Error("a connection that is being written to has a state")
	}
	go far.Write(make([]byte, headerLen))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("read a record of version 0")
	}
	p.expectMessages(far, data("stuck"), alert(2, byte(alertProtocolVersion))) // left to the writer
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := c.Write([]byte("more")); err == nil {
		t.Error("wrote after the alert")
	}
}

func TestCloseCutsWriteOff(t *testing.T) {
	c, _, far, done := stuck(t, "stuck")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("the write has succeeded")
	}
	if n, err := far.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the client read %d bytes, %v", n, err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed again: %v", err)
	}
	if _, err := c.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if _, err := c.State(); err == nil {
		t.Error("a closed connection has a state")
	}
}

func TestWriteTimeoutStays(t *testing.T) {
	c, _, far, done := stuck(t, "stuck")
	if err := c.SetWriteDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !isTimeout(err) {
		t.Errorf("not a time-out: %v", err)
	}
	if err := c.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	n, err := c.Write([]byte("more"))
	if e := net.Error(nil); n != 0 || !errors.As(err, &e) || !e.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wrote %d, %v", n, err)
	}
	if e, ok := err.(interface{ Temporary() bool }); !ok || e.Temporary() {
		t.Error("the error says that it passes")
	}
	if _, err := c.State(); err == nil {
		t.Error("a connection that failed has a state")
	}

	// Part of a record may be out: not even an alert can follow it.
	go far.Write(make([]byte, headerLen))
	if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("read a record of version 0: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if len(c.NetConn().(*watched).began) != 0 {
		t.Error("something was written after the failure")
	}
}

// An alert goes out between two records of one Write, which ends there.
func TestAlertEndsWrite(t *testing.T) {
	full := strings.Repeat("x", maxPlaintext)
	c, p, far, done := stuck(t, full+"not sent")
	go far.Write(make([]byte, headerLen))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("read a record of version 0")
	}
	p.expectMessages(far, data(full), alert(2, byte(alertProtocolVersion)))
	var alert tls.AlertError
	if err := <-done; !errors.As(err, &alert) || alert != alertProtocolVersion {
		t.Errorf("the write ended with %v", err)
	}
}

// What ends a connection, beyond what the fuzz test compares: the error stays, the
// state is gone, and after our alert nothing is written.
func TestEnds(t *testing.T) {
	for name, end := range map[string]struct {
		send func(p *peer) []byte
		err  string
		says []message
	}{
		"goodbye":      {func(p *peer) []byte { return p.seal(typeAlert, "\x01\x00") }, "EOF", nil},
		"remote alert": {func(p *peer) []byte { return p.seal(typeAlert, "\x02\x50") }, "remote error: tls: internal error", nil},
		"forgery":      {func(p *peer) []byte { r := p.seal(typeApplicationData, "x"); r[7] ^= 1; return r }, "local error: tls: bad record MAC", []message{alert(2, 20)}},
		"interleaved": {func(p *peer) []byte {
			return append(p.seal(typeHandshake, "\x18"), p.seal(typeApplicationData, "x")...)
		}, "local error: tls: unexpected message", []message{alert(2, 10)}},
		"ticket": {func(p *peer) []byte { return p.seal(typeHandshake, "\x04\x00\x10") }, "local error: tls: unexpected message", []message{alert(2, 10)}},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := newPeer(t)
			c, wire := resume(t, s)
			wire.in.put(p.seal(typeApplicationData, "data"))
			wire.in.put(end.send(p))
			if err := expect(c, "data"); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if n, err := c.Read(make([]byte, 9)); n != 0 || err == nil || err.Error() != end.err {
					t.Errorf("read %d, %v", n, err)
				}
			}
			if _, err := c.State(); err == nil {
				t.Error("there is a state")
			}
			_, err := io.WriteString(c, "after")
			if end.says == nil {
				end.says = []message{data("after")} // the client may still listen
			} else if err == nil {
				t.Error("wrote after an alert")
			}
			p.expectMessages(wireBack{wire}, end.says...)
			if _, err := p.receive(wireBack{wire}); !isTimeout(err) {
				t.Errorf("then: %v", err)
			}
		})
	}
}

func TestCloseWrite(t *testing.T) {
	s, p := newPeer(t)
	c, wire := resume(t, s)
	for range 2 {
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write([]byte("more")); err == nil || isTimeout(err) {
		t.Errorf("write: %v", err)
	}
	wire.in.put(p.seal(typeApplicationData, "still here"))
	if err := expect(c, "still here"); err != nil {
		t.Error(err)
	}
	if _, err := c.State(); err == nil {
		t.Error("there is a state")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	p.expectMessages(wireBack{wire}, alert(1, 0))
	if _, err := p.receive(wireBack{wire}); !isTimeout(err) {
		t.Errorf("then: %v", err)
	}
}

// The reader holds a long buffer only while a long record is under way.
func TestBuffers(t *testing.T) {
	s, p := newPeer(t)
	c, wire := resume(t, s)
	long := p.seal(typeApplicationData, strings.Repeat("x", 5000))
	wire.in.put(long[:3000])
	if _, err := c.Read(make([]byte, 1)); !isTimeout(err) {
		t.Fatal(err)
	}
	if c.in.big == nil {
		t.Error("no long buffer for a long record")
	}
	wire.in.put(append(long[3000:], p.seal(typeApplicationData, "short")[:20]...))
	if got, err := io.ReadAll(c); !isTimeout(err) || len(got) != 5000 {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if c.in.big != nil || len(c.in.buf) != len(c.in.small) {
		t.Error("a long buffer is held for a short record")
	}
}

func TestConnectionState(t *testing.T) {
	s, _ := newPeer(t)
	c, _ := resume(t, s)
	state := c.ConnectionState()
	if _, err := state.ExportKeyingMaterial("label", nil, 16); err == nil {
		t.Error("keying material was exported")
	}
	if !state.HandshakeComplete || state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519 {
		t.Errorf("state is %+v", state)
	}
}

func TestReadOfNothing(t *testing.T) {
	s, p := newPeer(t)
	c, wire := resume(t, s)
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	wire.in.put(p.seal(typeApplicationData, "x"))
	wire.in.end(io.EOF)
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, []byte("x")) {
		t.Errorf("read %q, %v", got, err)
	}
}
