package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const pkg = "github.com/segue-go/segue/bench"

// group is benchmarks that run for the same number of iterations.
type group struct{ pattern, benchtime string }

// The iterations of one count. Those of BenchmarkRequest are multiples of six.
var (
	full  = []group{{"Layer", "2000x"}, {"Request", "180x"}, {"Echo", "90x"}, {"IdleConnection", "2x"}, {"Restart", "10x"}}
	short = []group{{"Layer", "400x"}, {"Request", "48x"}, {"Echo", "24x"}, {"IdleConnection", "1x"}, {"Restart", "4x"}}
)

// plan is what to run. Each count is a process of its own for each group, and
// the groups take turns, so that each is spread over the whole time.
type plan struct {
	count     int
	benchtime []group
}

// run returns the raw output and the directory of the benchmarks.
func (p plan) run(ctx context.Context, progress io.Writer) (raw []byte, dir string, err error) {
	where, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", pkg).Output()
	if err != nil {
		return nil, "", fmt.Errorf("cannot find package %s: run this inside its repository: %w", pkg, err)
	}
	dir = strings.TrimSpace(string(where))
	tmp, err := os.MkdirTemp("", "segue-bench-")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(tmp)
	binary := filepath.Join(tmp, "bench.test")
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, pkg).CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("cannot build the benchmarks: %w\n%s", err, out)
	}
	var all bytes.Buffer
	for n := range p.count {
		for _, g := range p.benchtime {
			fmt.Fprintf(progress, "%d of %d: %s %s\n", n+1, p.count, g.pattern, g.benchtime)
			cmd := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.bench", "^Benchmark"+g.pattern+"$", "-test.benchtime", g.benchtime)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if err != nil {
				return nil, "", fmt.Errorf("cannot measure %s: %w\n%s", g.pattern, err, out)
			}
			all.Write(out)
		}
	}
	return all.Bytes(), dir, nil
}
