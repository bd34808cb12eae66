//go:build linux

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/testproc"
)

// TestAnyProgram measures what restarts of examples/any cost, by clients that never
// retry: programs in Python and Node that speak systemd's contract, and one that
// speaks nothing.
func TestAnyProgram(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../examples/any")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "segue.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	addrs := map[string]string{}
	changed := string(text)
	for service, addr := range map[string]string{"python": "127.0.0.1:8001", "node": "127.0.0.1:8002", "plain": "127.0.0.1:8003"} {
		addrs[service] = testproc.UnusedAddr(t)
		_, old, _ := strings.Cut(addr, ":")
		_, port, _ := strings.Cut(addrs[service], ":")
		if !strings.Contains(changed, old) {
			t.Fatalf("segue.yaml of the example does not say %s", old)
		}
		changed = strings.ReplaceAll(changed, old, port)
	}
	changed = strings.ReplaceAll(changed, "    drain_timeout: 15s\n", "    drain_timeout: 15s\n    probation: 1s\n") // which costs nobody a request
	for _, program := range []string{"python3", "node", "systemd-notify"} {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if program == "python3" {
			t.Skip("SKIPPED: python3 is not installed: no program in another language")
		}
		t.Logf("SKIPPED: %s is not installed: the service in Node is not measured", program)
		before, rest, _ := strings.Cut(changed, "  node:\n")
		_, after, _ := strings.Cut(rest, "  plain:\n")
		changed = before + "  plain:\n" + after
		delete(addrs, "node")
		break
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command(t), "run", "--file", file)
	cmd.Env = append(os.Environ(), "SEGUE_RUNTIME_DIR="+filepath.Join(dir, "run"), quick)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("%v\n%s", err, output.String())
		}
	})
	c := client.New(filepath.Join(dir, "run", "any", "api.sock"))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	testproc.Until(t, "all services serve", func() bool {
		o, err := c.Overview(ctx)
		serving := 0
		for _, s := range o.Services {
			if s.State == client.Serving {
				serving++
			}
		}
		return err == nil && serving == len(addrs)
	})
	t.Run("services", func(t *testing.T) { // which ends when all of them have
		for service, addr := range addrs {
			t.Run(service, func(t *testing.T) {
				t.Parallel()
				load := pester(addr)
				defer load.end()
				for range restarts(3) {
					load.flow(t)
					if r, err := c.Restart(ctx, service, client.RestartRequest{}, nil); err != nil || r.Outcome != client.Done {
						t.Fatalf("%s: %v, %+v", service, err, r)
					}
				}
				load.flow(t)
				load.end()
				t.Logf("%s, %d restarts: %v", service, restarts(3), load)
				switch lost := load.refused.Load() + load.cut.Load(); {
				case service == "plain" && lost == 0:
					t.Error("a program that speaks nothing has lost nothing: nobody asked while it was gone")
				case service != "plain" && lost > 0:
					t.Errorf("%s has lost %d requests: %v", service, lost, load.last.Load())
				}
			})
		}
	})
}

// pesterers are clients of HTTP/1.1 that ask all the time and never again what was
// not answered: half of them over one connection each for as long as the service
// keeps it, half over a new one for each request.
type pesterers struct {
	answered, refused, cut, told atomic.Int64
	last                         atomic.Value // string, of an error
	end                          func()
}

func pester(addr string) *pesterers {
	p := &pesterers{}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() { p.work(ctx, addr, n%2 == 0) })
	}
	p.end = sync.OnceFunc(func() { cancel(); all.Wait() })
	return p
}

// work asks every ten milliseconds.
func (p *pesterers) work(ctx context.Context, addr string, keep bool) {
	var conn net.Conn
	var answers *bufio.Reader
	hang := func() {
		if conn != nil {
			conn.Close()
		}
		conn = nil
	}
	defer hang()
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		var err error
		if conn == nil {
			if conn, err = net.DialTimeout("tcp", addr, patience); err != nil {
				conn = nil
				p.lost(&p.refused, err)
				continue
			}
			answers = bufio.NewReader(conn)
		}
		again, err := p.ask(conn, answers, keep)
		if err != nil {
			p.lost(&p.cut, err)
		}
		if err != nil || !again {
			hang()
		}
	}
}

func (p *pesterers) ask(conn net.Conn, answers *bufio.Reader, keep bool) (again bool, err error) {
	conn.SetDeadline(time.Now().Add(patience))
	request := "GET / HTTP/1.1\r\nHost: any\r\n\r\n"
	if !keep {
		request = "GET / HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n"
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return false, err
	}
	answer, err := http.ReadResponse(answers, nil)
	if err != nil {
		return false, err
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return false, err
	}
	if answer.StatusCode != http.StatusOK {
		return false, errors.New(answer.Status)
	}
	p.answered.Add(1)
	if keep && answer.Close {
		p.told.Add(1)
	}
	return keep && !answer.Close, nil
}

func (p *pesterers) lost(n *atomic.Int64, err error) {
	n.Add(1)
	p.last.Store(err.Error())
}

// flow waits until a hundred more have been answered.
func (p *pesterers) flow(t *testing.T) {
	until := p.answered.Load() + 100
	testproc.Until(t, "requests are answered", func() bool { return p.answered.Load() >= until })
}

func (p *pesterers) String() string {
	return fmt.Sprintf("%d requests answered, %d refused, %d cut off; %d connections were told to come back", p.answered.Load(), p.refused.Load(), p.cut.Load(), p.told.Load())
}
