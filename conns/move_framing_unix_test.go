//go:build unix

package conns

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// byLine is the framing of a protocol whose messages are lines.
type byLine struct{}

func (byLine) Next(b []byte) (n int, end bool) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1, true
	}
	return len(b), false
}

const linesRequest = "GET /lines HTTP/1.1\r\nHost: test\r\nUpgrade: lines\r\nConnection: Upgrade\r\n\r\n"

// linesEnds is wsEnds for lines. What the path names is not called.
func linesEnds(ends map[string]chan net.Conn) func(g string) http.Handler {
	return func(g string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/movable" {
				Movable(r.Context())
			}
			if r.URL.Path != "/framing" {
				Framing(r.Context(), byLine{}, byLine{})
			}
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: lines\r\nConnection: Upgrade\r\n\r\n")
			ends[g] <- c
		})
	}
}

// speakLines upgrades the client's connection.
func (c *client) speakLines(t *testing.T, path string) {
	t.Helper()
	io.WriteString(c, strings.Replace(linesRequest, "/lines", path, 1))
	if resp, err := http.ReadResponse(c.in, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
}

func (c *client) line(t *testing.T, want string) {
	t.Helper()
	if got, err := c.in.ReadString('\n'); err != nil || got != want+"\n" {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

// TestFraming: a protocol whose messages are lines moves in the middle of one that
// the client sends, and behind one that it is sent; late writes come in whole lines.
func TestFraming(t *testing.T) {
	withTLS(t, func(t *testing.T, config *tls.Config) {
		es := newEnds()
		p := newPair(t, config, linesEnds(es))
		in, out := p.dial(t, config), p.dial(t, config)
		in.speakLines(t, "/lines")
		reader := <-es["old"]
		out.speakLines(t, "/lines")
		writer := <-es["old"]

		io.WriteString(in, "whole\nhal") // one line at a time is handed up, and what there is of the next
		for _, want := range []string{"whole\n", "hal"} {
			b := make([]byte, 100)
			if n, err := reader.Read(b); err != nil || string(b[:n]) != want {
				t.Fatalf("%q, %v", b[:n], err)
			}
		}
		for _, s := range []net.Conn{reader, writer} {
			go s.Read(make([]byte, 1))
		}
		io.WriteString(writer, "par")

		var c *Conn
		for _, c = range p.old.tracked() {
			if c.RemoteAddr().String() == out.LocalAddr().String() {
				break
			}
		}
		c.gate.Lock()
		c.live.Load().save = func() []byte { // it is held
			io.WriteString(writer, "late 1\nla")
			return nil
		}
		c.gate.Unlock()
		p.gate.Shut()
		done := make(chan Departed, 1)
		f := newFerry(t, p.new)
		go func() { done <- p.old.Depart(budget(t, patience), f) }()
		until(t, "the other one has moved", func() bool { return p.old.Stats().Open == 1 })
		io.WriteString(writer, "tial\n")
		out.line(t, "partial")
		if d := <-done; d.Moved["other"] != 2 || d.Failure != "" {
			t.Fatalf("%+v", d)
		}
		out.line(t, "late 1")
		next := map[string]net.Conn{}
		for range 2 {
			s := <-es["new"]
			defer s.Close()
			next[s.RemoteAddr().String()] = s
		}
		io.WriteString(next[out.LocalAddr().String()], "in between\n")
		out.line(t, "in between")
		io.WriteString(writer, "te 2\n")
		out.line(t, "late 2")

		io.WriteString(in, "ves\n")
		got := make([]byte, len("halves\n"))
		if _, err := io.ReadFull(next[in.LocalAddr().String()], got); err != nil || string(got) != "halves\n" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// TestFramingOrDeclarationMissing: each of the two is needed.
func TestFramingOrDeclarationMissing(t *testing.T) {
	es := newEnds()
	p := newPair(t, nil, linesEnds(es))
	want := map[string]string{"/framing": reasonNoFraming, "/movable": reasonUndeclared}
	cs := map[string]*client{}
	for path := range want {
		c := newClient(t, p.ln.Addr())
		c.speakLines(t, path)
		s := <-es["old"]
		go io.Copy(s, s)
		cs[path] = c
	}
	d := p.move(t)
	for path, reason := range want {
		if len(d.Moved) > 0 || d.Stayed[reason] != 1 {
			t.Errorf("%s: %+v", path, d)
		}
		fmt.Fprintf(cs[path], "hello %s\n", path)
		cs[path].line(t, "hello "+path)
	}
}
