//go:build linux

package e2e

import (
	"bytes"
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

// built is the segue command, once for all tests; remove is called at the end.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "segue-e2e-")
	if err != nil {
		return "", err
	}
	remove = func() { os.RemoveAll(dir) }
	// Services may run as another user, who must come here.
	path := filepath.Join(dir, "segue")
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-race", "-o", path, "github.com/segue-go/segue/cmd/segue").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("cannot build the command: %w\n%s", err, out)
	}
	return path, err
})

var remove = func() {}

// command is the path of the segue command.
func command(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// quick has programs with the race detector end at once, and not after a second.
const quick = "GORACE=atexit_sleep_ms=0"

// fleet is segue.yaml with two services: web, which has the traffic, and mail,
// which waits for it. Whoever supervises the supervisor is the test's.
type fleet struct {
	*rig  // of web
	mail  *rig
	segue string // the command
	file  string // segue.yaml
	api   string // path of the API's socket, as the test sees it
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{rig: newRig(t), mail: newRig(t), segue: command(t)}
	f.brief = true
	f.addrs["web"], f.addrs["tls"] = testproc.UnusedAddr(t), testproc.UnusedAddr(t)
	f.addrs["local"] = "unix:" + filepath.Join(f.dir, "local.sock")
	f.tls.Addr = f.addrs["tls"]
	f.mail.addrs["web"] = testproc.UnusedAddr(t)
	f.file = filepath.Join(f.dir, "segue.yaml")
	f.write("")
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := os.ReadFile(f.output())
			t.Logf("%s", out)
		}
	})
	return f
}

// write writes the file; more is added to both services.
func (f *fleet) write(more string) {
	f.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	common := fmt.Sprintf("    command: [%s]\n    ready_timeout: 5s\n    trial: 200ms\n    probation: 600ms\n    drain_timeout: 10s\n    backoff: {first: 100ms}\n%s", exe, more)
	text := fmt.Sprintf("version: 1\nname: fleet\nservices:\n"+
		"  web:\n%s    env: {E2E_DIR: %s}\n    sockets: {web: '%s', tls: '%s', local: {unix: '%s'}}\n    probes: [{http: /probe, socket: web}]\n"+
		"  mail:\n%s    env: {E2E_DIR: %s}\n    sockets: {web: '%s'}\n    depends_on: [web]\n",
		common, f.dir, f.addrs["web"], f.addrs["tls"], strings.TrimPrefix(f.addrs["local"], "unix:"), common, f.mail.dir, f.mail.addrs["web"])
	if err := os.WriteFile(f.file, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// output is where what is written under the other supervisor goes.
func (f *fleet) output() string { return filepath.Join(f.dir, "output") }

// generate is what `segue generate` writes for the file: the name of each file in
// a line by itself, then its text.
func (f *fleet) generate(args ...string) string {
	f.t.Helper()
	cmd := exec.Command(f.segue, append([]string{"generate"}, args...)...)
	cmd.Env = append(os.Environ(), quick)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatalf("segue generate %v: %v\n%s", args, err, stderr.Bytes())
	}
	return string(out)
}

// overview is what the supervisor says.
func (f *fleet) overview() (o client.Overview, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return client.New(f.api).Overview(ctx)
}

// is waits until the supervisor says so of its services.
func (f *fleet) is(what string, ok func(client.Overview) bool) (o client.Overview) {
	f.t.Helper()
	testproc.Until(f.t, what, func() bool {
		var err error
		o, err = f.overview()
		return err == nil && ok(o)
	})
	return o
}

// serve waits until both services do, under the supervisor with this pid, if it is
// not 0.
func (f *fleet) serve(supervisor int) client.Overview {
	f.t.Helper()
	return f.is("both services serve", func(o client.Overview) bool {
		return (supervisor == 0 || o.PID == supervisor) && len(o.Services) == 2 &&
			o.Services[0].State == client.Serving && o.Services[1].State == client.Serving
	})
}

// pids are the processes that answer for web and mail.
func (f *fleet) pids() [2]int {
	f.t.Helper()
	return [2]int{f.who().PID, f.mail.who().PID}
}

// report is of the last restart of web.
func (f *fleet) report() client.Report {
	f.t.Helper()
	o, err := f.overview()
	if err != nil {
		f.t.Fatal(err)
	}
	r := o.Services[0].LastReport
	if r == nil {
		f.t.Fatal("there was no restart")
	}
	return *r
}

// knocks are connections that are made all the time, each with one request.
type knocks struct {
	stop     func()
	answered atomic.Int64
	turned   atomic.Int64 // away, with 503
	broken   atomic.Int64 // reset, or cut
	refused  atomic.Int64
	slowest  atomic.Int64 // nanoseconds
	last     atomic.Value // string, of an error
}

// knock knocks at addr every few milliseconds, until stop.
func knock(addr string) *knocks {
	k := &knocks{}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				all.Go(func() { k.once(addr) })
			case <-ctx.Done():
				return
			}
		}
	})
	k.stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	return k
}

func (k *knocks) once(addr string) {
	began := time.Now()
	status, err := ask(addr)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		k.refused.Add(1)
		k.last.Store(err.Error())
	case err != nil:
		k.broken.Add(1)
		k.last.Store(err.Error())
	case status == http.StatusServiceUnavailable:
		k.turned.Add(1)
	default:
		k.answered.Add(1)
	}
	for took := int64(time.Since(began)); ; {
		if old := k.slowest.Load(); took <= old || k.slowest.CompareAndSwap(old, took) {
			return
		}
	}
}

// ask makes one request over a connection of its own, once.
func ask(addr string) (status int, err error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "GET /pid HTTP/1.1\r\nHost: e2e\r\nConnection: close\r\n\r\n"); err != nil {
		return 0, err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscanf(string(answer), "HTTP/1.1 %d", &status); err != nil {
		return 0, fmt.Errorf("an answer that is none: %q", answer)
	}
	return status, nil
}

func (k *knocks) String() string {
	return fmt.Sprintf("%d answered, %d turned away (503), %d broken, %d refused, slowest %v, last error %v", k.answered.Load(), k.turned.Load(),
		k.broken.Load(), k.refused.Load(), time.Duration(k.slowest.Load()).Round(time.Millisecond), k.last.Load())
}
