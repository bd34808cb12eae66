package ginsegue

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

// TestMovable hands over by SIGUSR2. The connection of the declared route goes on
// in the new process; that of the other is told that the service restarts.
func TestMovable(t *testing.T) {
	s := start(t)
	old := s.cmd.Process.Pid
	addr := strings.TrimPrefix(s.await(old, "Listening", "web: serving "), "web: serving ")
	s.await(old, "PhaseChanged", "ready")
	moves, stays := open(t, addr, "/moves"), open(t, addr, "/stays")
	for _, c := range []*client{moves, stays} {
		if pid := c.ask(t); pid != old {
			t.Fatalf("process %d answers, not %d", pid, old)
		}
	}
	if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	var next int
	if _, err := fmt.Sscanf(s.await(old, "HandoverEnded", ""), "handover: done, process %d serves", &next); err != nil {
		t.Fatal(err)
	}
	s.pids = append(s.pids, next)
	opcode, text, err := message(stays.r)
	if err != nil || opcode != 8 || len(text) < 2 || binary.BigEndian.Uint16(text) != 1012 {
		t.Errorf("the connection that stays got opcode %d, %q, %v; want a close frame that says 1012", opcode, text, err)
	}
	stays.Close()
	s.await(old, "PhaseChanged", "stopped")
	if pid := moves.ask(t); pid != next {
		t.Errorf("process %d answers on the connection that moves, not %d", pid, next)
	}
}

// service is the child and its successors.
type service struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	pids  []int
}

func start(t *testing.T) *service {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, cmd: exec.Command(self), lines: make(chan string, 4096)}
	s.cmd.Env = append(os.Environ(), envService+"=127.0.0.1:0", "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = w, os.Stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	s.pids = []int{s.cmd.Process.Pid}
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		for _, pid := range s.pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		for range s.lines { // until the last one has ended
		}
		r.Close()
		s.cmd.Wait()
	})
	return s
}

// await returns what follows kind in a line of process pid.
func (s *service) await(pid int, kind, prefix string) string {
	s.t.Helper()
	late := time.After(patience)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatal("every process has ended")
			}
			s.t.Log(line)
			if text, ok := strings.CutPrefix(line, fmt.Sprintf("%d segue.%s ", pid, kind)); ok && strings.HasPrefix(text, prefix) {
				return text
			}
		case <-late:
			s.t.Fatalf("process %d never said %s %q", pid, kind, prefix)
		}
	}
}

// client is a connection that was upgraded.
type client struct {
	net.Conn
	r *bufio.Reader
}

func open(t *testing.T, addr, path string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(2 * patience))
	fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path)
	c := &client{nc, bufio.NewReader(nc)}
	for line := "x"; line != "\r\n"; {
		if line, err = c.r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// ask sends a message and returns the process that has read it.
func (c *client) ask(t *testing.T) int {
	t.Helper()
	// A mask of zeros is a mask (RFC 6455, section 5.3).
	if _, err := io.WriteString(c, "\x81\x82\x00\x00\x00\x00hi"); err != nil {
		t.Fatal(err)
	}
	_, text, err := message(c.r)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}
