package tls13

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// A client that is not Go's, and that can ask for KeyUpdates: before the move,
// after it, with and without an answer wanted.
func TestOpenSSL(t *testing.T) {
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("NO OPENSSL HERE: the record layer was not tried with its client")
	}
	a := newAuthority(t)
	certificate := a.issue(t, "RSA", x509.ExtKeyUsageServerAuth)
	for _, u := range suites {
		suite := tls.CipherSuiteName(u.id)
		t.Run(suite, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			context.AfterFunc(ctx, func() { l.Close() })
			client := startOpenSSL(ctx, t, program, "s_client", "-connect", l.Addr().String(), "-tls1_3", "-ciphersuites", suite)
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			context.AfterFunc(ctx, func() { nc.Close() })

			var c movable = tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{certificate}})
			echo := func(text string) {
				t.Helper()
				client.say(t, text)
				if err := expect(c, text+"\n"); err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				if _, err := io.WriteString(c, "heard "+text+"\n"); err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				client.await(t, "heard "+text)
			}
			update := func(letter string) {
				t.Helper()
				client.say(t, letter)
				client.await(t, "KEYUPDATE")
			}
			echo("one")
			update("K")
			echo("two")
			update("k")
			echo("three")
			for range 2 {
				c = transfer(t, c, nil)
				echo("four")
				update("K")
				echo("five")
				update("k")
				echo("six")
				echo(strings.Repeat("seven", 2000))
				update("K") // its answer is owed when the connection moves
				client.say(t, "eight")
				if err := expect(c, "eight\n"); err != nil {
					t.Fatal(err)
				}
			}
			if got := c.(*Conn).ConnectionState().CipherSuite; got != u.id {
				t.Errorf("cipher suite %s", tls.CipherSuiteName(got))
			}
			client.say(t, "Q")
			if n, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("at the end: read %d, %v", n, err)
			}
			if err := client.command.Wait(); err != nil {
				t.Errorf("openssl: %v", err)
			}
		})
	}
}

// session is an openssl that is talked to by lines.
type session struct {
	command *exec.Cmd
	in      io.Writer
	lines   *bufio.Scanner
}

func startOpenSSL(ctx context.Context, t *testing.T, program string, args ...string) *session {
	t.Helper()
	s := &session{command: exec.CommandContext(ctx, program, args...)}
	in, err := s.command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.command.Stderr = s.command.Stdout
	s.in, s.lines = in, bufio.NewScanner(out)
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.command.ProcessState == nil {
			_ = s.command.Process.Kill()
			_ = s.command.Wait()
		}
	})
	return s
}

func (s *session) say(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

func (s *session) await(t *testing.T, line string) {
	t.Helper()
	for s.lines.Scan() {
		if s.lines.Text() == line {
			return
		}
	}
	t.Fatalf("openssl did not say %.40q", line)
}
