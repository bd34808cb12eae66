package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// shopEnv makes the test binary the shop: a real process with real signals.
const shopEnv = "SHOP_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(shopEnv) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// process is a running shop.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	ready   chan struct{} // closed when it says so
	url     string        // valid then
	drained sync.WaitGroup
	mu      sync.Mutex
	log     bytes.Buffer
}

func startShop(t *testing.T, env ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0]), ready: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), shopEnv+"=1", "SHOP_ADDR=127.0.0.1:0", "SHOP_DATA="+t.TempDir())
	p.cmd.Env = append(p.cmd.Env, env...)
	inGroup(p.cmd)
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.drained.Go(func() { p.read(out) })
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.cmd.Cancel()
			p.exit()
		}
	})
	return p
}

var serving = regexp.MustCompile(`web: serving (127\.0\.0\.1:\d+)`)

func (p *process) read(out io.Reader) {
	once := sync.OnceFunc(func() { close(p.ready) })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		// Once: a successor writes to the same stderr, and its address is the same.
		if m := serving.FindStringSubmatch(lines.Text()); m != nil && p.url == "" {
			p.url = "http://" + m[1]
		}
		if strings.Contains(lines.Text(), "msg=ready") {
			once()
		}
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *process) waitReady() {
	p.t.Helper()
	select {
	case <-p.ready:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("not ready:\n%s", p.output())
	}
}

// exit waits for the process and returns its exit code, -1 for a signal.
func (p *process) exit() int {
	p.drained.Wait() // before Wait: it closes the pipe
	var failed *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &failed) {
		p.t.Error(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) get(path string) (int, string) {
	p.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(p.url + path)
	if err != nil {
		p.t.Errorf("%s: %v", path, err)
		return 0, ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Errorf("%s: %v", path, err)
	}
	return res.StatusCode, string(body)
}

// openStream returns when the handler of the stream is known to run.
func (p *process) openStream() io.Reader {
	p.t.Helper()
	c := p.dial()
	fmt.Fprintf(c, "GET /api/orders/stream HTTP/1.1\r\nHost: x\r\n\r\n")
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			p.t.Fatal(err)
		}
		if strings.HasPrefix(line, "event: open") {
			return r
		}
	}
}

// beginUpload returns when the handler is known to read the body: net/http
// sends 100 Continue then. finish sends the body and returns the answer.
func (p *process) beginUpload() (finish func() string) {
	p.t.Helper()
	c := p.dial()
	fmt.Fprintf(c, "POST /api/upload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		p.t.Fatalf("%q (%v), want 100 Continue", line, err)
	}
	r.ReadString('\n') // the empty line after it
	return func() string {
		io.WriteString(c, "file")
		answer, err := io.ReadAll(r)
		if err != nil {
			p.t.Error(err)
		}
		return string(answer)
	}
}

func (p *process) dial() net.Conn {
	p.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

func TestServeAndLeave(t *testing.T) {
	p := startShop(t, "SHOP_VERSION=v9", "SEGUE_GENERATION=")
	p.waitReady()
	var v struct {
		Version string
		PID     int
	}
	if _, body := p.get("/version"); json.Unmarshal([]byte(body), &v) != nil || v.Version != "v9" || v.PID != p.cmd.Process.Pid {
		t.Errorf("%s, want version v9 of pid %d", body, p.cmd.Process.Pid)
	}
	if status, body := p.get("/readyz"); status != 200 {
		t.Errorf("not ready: %d %s", status, body)
	}
	stream := p.openStream()
	finish := p.beginUpload()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// The stream ends by itself, with a goodbye and not with a reset ...
	if rest, err := io.ReadAll(stream); err != nil || !strings.Contains(string(rest), "leaving") {
		t.Errorf("the stream ended with %q (%v)", rest, err)
	}
	// ... and the upload goes on although the process is leaving.
	if answer := finish(); !strings.HasPrefix(answer, "HTTP/1.1 201") {
		t.Errorf("the upload in flight got %q", answer)
	}
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.output())
	}
	if log := p.output(); !strings.Contains(log, "outbox relay ended") || !strings.Contains(log, "cleanup database") {
		t.Errorf("the log lacks the end of the relay or of the database:\n%s", log)
	}
}

func TestFaults(t *testing.T) {
	t.Run("crash", func(t *testing.T) {
		p := startShop(t, "SHOP_FAULT=crash")
		if code := p.exit(); code != 1 || !strings.Contains(p.output(), "crashing on request") {
			t.Errorf("exit code %d:\n%s", code, p.output())
		}
	})
	t.Run("die", func(t *testing.T) {
		p := startShop(t, "SHOP_FAULT=die:50ms")
		p.waitReady()
		if code := p.exit(); code != -1 {
			t.Errorf("exit code %d, want death by signal", code)
		}
	})
	t.Run("slow", func(t *testing.T) {
		begin := time.Now()
		p := startShop(t, "SHOP_FAULT=slow:300ms")
		p.waitReady()
		if took := time.Since(begin); took < 300*time.Millisecond {
			t.Errorf("ready after %v", took)
		}
	})
	t.Run("sick", func(t *testing.T) {
		p := startShop(t, "SHOP_FAULT=sick")
		p.waitReady()
		if status, body := p.get("/readyz"); status != 503 || !strings.Contains(body, "sick on request") {
			t.Errorf("%d %s", status, body)
		}
	})
	t.Run("hang", func(t *testing.T) {
		p := startShop(t, "SHOP_FAULT=hang")
		select {
		case <-p.ready:
			t.Error("became ready")
		case <-time.After(300 * time.Millisecond): // an absence has no event to wait for
		}
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := p.exit(); code == -1 {
			t.Errorf("died of the signal:\n%s", p.output())
		}
	})
}

func TestBadUse(t *testing.T) {
	for _, args := range [][]string{{"-addr", "nowhere"}, {"-no-such-flag"}, {"extra"}} {
		var out bytes.Buffer
		if code := run(t.Context(), args, func(string) string { return "" }, &out); code != 2 || !strings.Contains(out.String(), "cannot start") {
			t.Errorf("%v: exit code %d, %s", args, code, out.String())
		}
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"-help"}, func(string) string { return "" }, &out); code != 0 || !strings.Contains(out.String(), "SHOP_FAULT") {
		t.Errorf("-help: exit code %d, %s", code, out.String())
	}
}
