package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if what := os.Getenv(envService); what != "" {
		if err := serve(what); err != nil {
			fmt.Fprintln(os.Stderr, "service:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "supervise:", err)
		os.Exit(1)
	}
}

// bench is one run of everything.
type bench struct {
	ctx         context.Context
	n           int
	idle        time.Duration
	out         string
	root        string // of the repository
	dir         string // for everything that is written
	exe, segue  string // this program, and the segue command
	rows        []row
	notes       []string
	began       time.Time
	loadAtFirst string
}

func run(ctx context.Context) error {
	b := bench{ctx: ctx, began: time.Now(), loadAtFirst: load()}
	var only string
	flag.IntVar(&b.n, "n", 50, "crashes of each")
	flag.DurationVar(&b.idle, "idle", time.Minute, "`time` for which nothing happens")
	flag.StringVar(&only, "only", "crash,idle,output", "what to measure")
	flag.StringVar(&b.out, "out", "", "`file` for the report, beside the terminal")
	flag.Parse()
	var err error
	if b.exe, err = os.Executable(); err != nil {
		return err
	}
	root, err := exec.Command("go", "list", "-f", "{{.Module.Dir}}", "github.com/segue-go/segue/client").Output()
	if err != nil {
		return fmt.Errorf("cannot find the repository: %w; run this inside it", err)
	}
	b.root = strings.TrimSpace(string(root))
	if b.dir, err = os.MkdirTemp("", "segue-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.segue = filepath.Join(b.dir, "bin-segue")
	build := exec.Command("go", "build", "-o", b.segue, "./cmd/segue")
	build.Dir = b.root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the segue command: %w\n%s", err, out)
	}
	for _, part := range []struct {
		name string
		run  func() error
	}{{"crash", b.crash}, {"idle", b.idling}, {"output", b.output}} {
		if !strings.Contains(only, part.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", part.name)
		if err := part.run(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return b.write()
}
