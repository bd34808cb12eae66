package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// row is one line of the report.
type row struct{ what, target, figure, verdict string }

// row adds one; a target of "" has no verdict.
func (b *bench) row(what, target string, met bool, figure string, args ...any) {
	verdict := "met"
	switch {
	case target == "":
		verdict = "-"
	case !met:
		verdict = "MISSED"
	}
	r := row{what, target, fmt.Sprintf(figure, args...), verdict}
	b.rows = append(b.rows, r)
	fmt.Fprintf(os.Stderr, "  %-60s %-24s %-70s %s\n", r.what, r.target, r.figure, r.verdict)
}

// note adds a line below the table.
func (b *bench) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
	fmt.Fprintln(os.Stderr, "  "+b.notes[len(b.notes)-1])
}

func (b *bench) write() error {
	var text strings.Builder
	fmt.Fprintf(&text, "# What supervision costs, measured\n\nWritten by `go run ./bench/cmd/supervise %s`; do not edit.\n\n", strings.Join(os.Args[1:], " "))
	fmt.Fprintf(&text, "%s, commit %s, %s, %s/%s, %d processors, load average %s before and %s after (this run is part of the latter).\n\n",
		b.began.UTC().Format("2006-01-02 15:04 MST"), commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), b.loadAtFirst, load())
	text.WriteString("| what | target | figure | verdict |\n|---|---|---|---|\n")
	for _, r := range b.rows {
		fmt.Fprintf(&text, "| %s | %s | %s | %s |\n", r.what, r.target, r.figure, r.verdict)
	}
	text.WriteString("\n")
	for _, n := range b.notes {
		text.WriteString("* " + n + "\n")
	}
	fmt.Print(text.String())
	if b.out == "" {
		return nil
	}
	return os.WriteFile(b.out, []byte(text.String()), 0o644)
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// load is the load average over 1, 5 and 15 minutes.
func load() string {
	data, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(data))[:3], " ")
}

func quantile(ds []time.Duration, q float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(ds))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func ms(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
