package subject

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/segue-go/segue"
)

// EnvKind says which kind of subject a process is to be.
const EnvKind = "SEGUE_BENCH_SUBJECT"

// The kinds.
const (
	Bare    = "bare"    // a plain http.Server
	Segue   = "segue"   // the same under package segue
	Lineage = "lineage" // under package segue, to be restarted: see lineage_linux.go
)

// readHeaderTimeout is what segue gives a server that it makes. Each timeout is
// a system call or two per request, so the bare server has the same.
const readHeaderTimeout = 10 * time.Second

// Main is the whole program of a subject; began is when main was reached.
func Main(kind string, began time.Time) error {
	self.Main = began
	switch kind {
	case Bare:
		return bare()
	case Segue:
		return underSegue()
	case Lineage:
		return lineage()
	}
	return fmt.Errorf("cannot be a subject of kind %q", kind)
}

func bare() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: Router(), ReadHeaderTimeout: readHeaderTimeout}
	fmt.Println(ln.Addr())
	go func() { awaitParent(); srv.Close() }()
	if err := srv.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func underSegue() error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { awaitParent(); cancel() }()
	o := segue.Options{IdleTimeout: -1, Events: func(e segue.Event) {
		if l, ok := e.(segue.Listening); ok {
			fmt.Println(l.Addr)
		}
	}}
	return segue.Run(ctx, o, func(_ context.Context, app *segue.App) error {
		app.HTTP("web", "127.0.0.1:0", Router())
		return nil
	})
}

// awaitParent returns when the standard input ends: the benchmark closed it, or
// is gone.
func awaitParent() { io.Copy(io.Discard, os.Stdin) }

// Process is a running subject, seen from the benchmark.
type Process struct {
	Addr string
	cmd  *exec.Cmd
	in   io.Closer
}

// Start starts this very program as a subject of the kind.
func Start(kind string) (*Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), EnvKind+"="+kind)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, in: in}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.Stop()
		return nil, fmt.Errorf("cannot start a %s subject: it said no address: %w", kind, err)
	}
	p.Addr = strings.TrimSpace(line)
	return p, nil
}

// Stop ends the process and returns when it is gone.
func (p *Process) Stop() error {
	p.in.Close()
	return p.cmd.Wait()
}
