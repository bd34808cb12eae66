package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"
)

// row is one line of the report.
type row struct{ goal, target, figure, verdict string }

func (o *options) row(goal, target string, met bool, figure string, args ...any) {
	verdict := "met"
	switch {
	case target == "":
		verdict = "-"
	case !met:
		verdict = "MISSED"
	}
	r := row{goal, target, fmt.Sprintf(figure, args...), verdict}
	o.rows = append(o.rows, r)
	fmt.Fprintf(os.Stderr, "  %-40s %-28s %-60s %s\n", r.goal, r.target, r.figure, r.verdict)
}

func (o *options) write() error {
	text := fmt.Sprintf("%s, %s/%s, %d processors\n\n| goal | target | figure | verdict |\n|---|---|---|---|\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, r := range o.rows {
		text += fmt.Sprintf("| %s | %s | %s | %s |\n", r.goal, r.target, r.figure, r.verdict)
	}
	fmt.Print(text)
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, []byte(text), 0o644)
}

func quantile(ds []time.Duration, q float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(ds))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func ms(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
