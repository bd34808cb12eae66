package main

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// openSSL is an interactive openssl s_client: a client over TLS 1.3 that shares no
// code with Go's. A line that it is given as a whole is a command if it begins with
// K, k, Q or R.
type openSSL struct {
	t   *testing.T
	in  io.Writer
	out chan string // lines that it has written, and what the server has sent
}

// gone is what it says when the connection is over.
var gone = regexp.MustCompile("^closed|^DONE|errno|:error:")

func startOpenSSL(t *testing.T, r *rig) *openSSL {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("SKIPPED: there is no openssl, so nothing shows that its connections stay")
	}
	cmd := exec.Command(program, "s_client", "-connect", r.addrs["web"], "-servername", "localhost", "-tls1_3",
		"-CAfile", filepath.Join(r.dir, "tls.pem"), "-verify_return_error")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &openSSL{t: t, in: in, out: make(chan string, 10000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(c.out)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.out <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close() // it ends with its input
		cmd.Wait()
		w.Close()
		<-read
	})
	return c
}

// says waits for a line and returns what the first group of the pattern matches.
func (c *openSSL) says(pattern string) string {
	c.t.Helper()
	re, late := regexp.MustCompile(pattern), time.After(patience)
	for {
		select {
		case line, ok := <-c.out:
			match := re.FindStringSubmatch(line)
			switch {
			case match != nil:
				return match[len(match)-1]
			case !ok || gone.MatchString(line):
				c.t.Fatalf("openssl ends with %q before it says %s", line, pattern)
			}
		case <-late:
			c.t.Fatalf("openssl does not say %s", pattern)
		}
	}
}

// ask sends a request, and returns which process has answered it.
func (c *openSSL) ask() int {
	c.t.Helper()
	fmt.Fprint(c.in, "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
	pid, _ := strconv.Atoi(c.says(`"pid":(\d+)`))
	return pid
}

// updateKey has it change its key; "K" asks the server to change its own as well
// (RFC 8446, section 4.6.3).
func (c *openSSL) updateKey(command string) {
	c.t.Helper()
	fmt.Fprintln(c.in, command)
	c.says("^KEYUPDATE")
}

// TestOpenSSLStays: one connection of openssl s_client goes on through restarts,
// whoever changes which key, before the move and after it.
func TestOpenSSLStays(t *testing.T) {
	r := alone(t, "-tls")
	c := startOpenSSL(t, r)
	by := func() {
		t.Helper()
		if got, want := c.ask(), r.pid(); got != want {
			t.Errorf("process %d answered, %d serves", got, want)
		}
	}
	by()
	for range restarts() {
		c.updateKey("k")
		by()
		c.updateKey("K")
		r.restart() // the server's answer to that is still to come
		by()
		c.updateKey("k")
		c.updateKey("K")
		by()
		by()
	}
}
