package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/segue-go/segue/bench/internal/sample"
)

// result is one run of everything.
type result struct {
	Began           time.Time
	Took            time.Duration
	Machine         machine
	Load, LoadAfter string
	Args            []string
	Count           int
	Samples         samples
}

func (r result) figures() []figure {
	all := make([]figure, len(targets))
	for i, t := range targets {
		all[i] = t.figure(r.Samples)
	}
	return all
}

// failed says whether a target is missed, or nobody knows.
func (r result) failed() bool {
	for _, f := range r.figures() {
		if f.judgement == missed || f.judgement == unmeasured {
			return true
		}
	}
	return false
}

// table is for the terminal.
func (r result) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "what\ttarget\tmedian\tinterval\tverdict")
	for _, f := range r.figures() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", f.what, f.asked(), f.measured(), f.interval(), f.verdict())
	}
	t.Flush()
}

// The parts of a restart, in their order, and the ways to trigger one.
var (
	restarts = []string{"command", "api", "signal"}
	parts    = []struct{ unit, what string }{
		{"total-ms", "from the trigger to the first answer of the new generation"},
		{"start-ms", "less the program's own start: from exec to main, and setup"},
		{"trial-ms", "less the trial, as asked for"},
		{"over-ms", "**over both, compared with the target**"},
		{"over-max-ms", "the same, the worst restart of a count"},
		{"over-trigger-ms", "of it: until the restart begins"},
		{"over-spawn-ms", "of it: fork and exec"},
		{"over-ready-ms", "of it: the link, the socket, the news of readiness"},
		{"over-trial-ms", "of it: the trial beyond its time"},
		{"over-switch-ms", "of it: the switch"},
		{"over-answer-ms", "of it: a new connection, a request, its answer"},
	}
	absolutes = []struct{ sample, what string }{
		{"Request bare-req/s", "requests/s, bare (client and server share the cores)"},
		{"Request segue-req/s", "requests/s, segue"},
		{"Request bare-cpu-ns/req", "processor time of the server per request, bare, ns"},
		{"Request segue-cpu-ns/req", "the same, segue, ns"},
		{"Request bare-allocs/req", "allocations of the server per request, bare"},
		{"Layer/handler=gin bare-ns/req", "handler alone, bare, ns"},
		{"Layer/handler=gin segue-ns/req", "handler alone, segue, ns"},
		{"IdleConnection bare-B/conn", "heap and stacks per idle connection, bare, B"},
		{"IdleConnection segue-B/conn", "the same, segue, B"},
		{"IdleConnection added-stack-B/conn", "of what is added: stacks, B"},
	}
)

// write puts RESULTS.md and RESULTS.txt into dir.
func (r result) write(dir string, raw []byte) error {
	var b strings.Builder
	r.markdown(&b)
	if err := os.WriteFile(filepath.Join(dir, "RESULTS.md"), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("cannot write the results: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "RESULTS.txt"), raw, 0o644); err != nil {
		return fmt.Errorf("cannot write the raw results: %w", err)
	}
	return nil
}

func (r result) markdown(w io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("# What Segue costs, measured\n")
	p("Written by `%s`; do not edit. The raw output is in [RESULTS.txt](RESULTS.txt) (`benchstat RESULTS.txt`).\n",
		strings.TrimSpace("go run ./bench/cmd/bench "+strings.Join(r.Args, " ")))
	p("| | |\n|---|---|")
	p("| date | %s, %v |", r.Began.UTC().Format("2006-01-02 15:04 MST"), r.Took.Round(time.Second))
	p("| commit | %s |", r.Machine.Commit)
	p("| machine | %d cores, %s |", r.Machine.Cores, r.Machine.Processor)
	p("| system | %s, %s |", r.Machine.System, r.Machine.Go)
	p("| load average | %s before, %s after (this run is part of the latter) |\n", r.Load, r.LoadAfter)
	p("| what | target | median | interval | verdict |\n|---|---|---|---|---|")
	confidence := 1.0
	for _, f := range r.figures() {
		if f.judgement != unmeasured {
			confidence = min(confidence, f.confidence)
		}
		p("| %s | %s | %s | %s | %s |", strings.Replace(f.what, "  ", "– ", 1), f.asked(), f.measured(), f.interval(), f.verdict())
	}
	p("\nEach figure is the median of %d runs, each with fresh processes and itself the median of neighbouring turns; the interval holds", r.Count)
	p("the true median with a probability of at least %.0f%%. *Undecided*: the interval lies on both sides of the target. *Below the", 100*confidence)
	p("noise*: a second bare server differs from the first by as much, or the interval includes zero.\n")
	p("## The parts of a restart\n\nMedians in ms; they add up only nearly.\n")
	p("| | `segue restart` | control API | SIGUSR2 |\n|---|---|---|---|")
	for _, part := range parts {
		line := "| " + part.what + " |"
		for _, by := range restarts {
			line += r.value("Restart/by="+by+" "+part.unit) + " |"
		}
		p("%s", line)
	}
	p("\n## Absolute figures\n\nOf this machine, for orientation.\n\n| | |\n|---|---|")
	for _, a := range absolutes {
		p("| %s |%s |", a.what, r.value(a.sample))
	}
}

// value is a median for a cell.
func (r result) value(name string) string {
	v := r.Samples[name]
	if len(v) == 0 {
		return " not measured"
	}
	m := sample.Median(v)
	switch {
	case m >= 1000:
		return fmt.Sprintf(" %.0f", m)
	case m >= 100:
		return fmt.Sprintf(" %.1f", m)
	}
	return fmt.Sprintf(" %.2f", m)
}
