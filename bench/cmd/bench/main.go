// Command bench runs the benchmarks of package bench, compares what they say
// with the targets, prints one table and writes it, with the machine it was
// measured on, to RESULTS.md; the raw output, for benchstat, to RESULTS.txt.
//
//	go run ./bench/cmd/bench [-brief] [-count N] [-o DIRECTORY]
//
// Exit code 0 unless a target is clearly missed or could not be measured (1), or
// the flags make no sense (2). A figure whose interval lies across its target is
// undecided: run it again on a quieter machine, or with a higher -count.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	brief := flags.Bool("brief", false, "about a minute, wide intervals, nothing is written unless -o says so")
	count := flags.Int("count", 0, "how many `times` to run each benchmark, with fresh processes (default 12, brief 6)")
	dir := flags.String("o", "", "`directory` for RESULTS.md and RESULTS.txt (default: the one of package bench)")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 || *count < 0 {
		fmt.Fprintln(stderr, "bench: takes flags only, and -count must be positive")
		return 2
	}
	p := plan{count: 12, benchtime: full}
	if *brief {
		p = plan{count: 6, benchtime: short}
	}
	if *count > 0 {
		p.count = *count
	}
	r := result{Began: time.Now(), Machine: thisMachine(), Load: load(), Args: args, Count: p.count}
	raw, pkg, err := p.run(ctx, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	r.Took, r.LoadAfter, r.Samples = time.Since(r.Began), load(), parse(string(raw))
	r.table(stdout)
	if *dir == "" && !*brief {
		*dir = pkg
	}
	if *dir != "" {
		if err := r.write(*dir, raw); err != nil {
			fmt.Fprintln(stderr, "bench:", err)
			return 1
		}
		fmt.Fprintf(stdout, "\nwritten to %s\n", filepath.Join(*dir, "RESULTS.md"))
	}
	if r.failed() {
		return 1
	}
	return 0
}
