package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/segue-go/segue/bench/internal/sample"
)

// target is a row of the table: a figure and the most it may be.
type target struct {
	what   string
	sample string
	unit   string
	digits int
	most   float64 // NaN: nothing is asked of it
	shown  string  // the target in words, where that is not "<= most unit"
	noise  string  // the sample that shows what no difference at all measures as
}

var none = math.NaN()

// targets are those of the issue; rows without one help to judge the others.
var targets = []target{
	{what: "throughput lost, Gin JSON route, TCP keep-alive", sample: "Request lost-%", unit: "%", digits: 2, most: 1, noise: "Request same-%"},
	{what: "  noise: a second bare server", sample: "Request same-%", unit: "%", digits: 2, most: none},
	{what: "time added per request, layer alone, Gin route", sample: "Layer/handler=gin added-ns/req", unit: "ns", digits: 0, most: 100},
	{what: "  the same, empty handler", sample: "Layer/handler=empty added-ns/req", unit: "ns", digits: 0, most: none},
	{what: "processor time added per request, TCP", sample: "Request added-cpu-ns/req", unit: "ns", digits: 0, most: 100, noise: "Request same-cpu-ns/req"},
	{what: "  noise: a second bare server", sample: "Request same-cpu-ns/req", unit: "ns", digits: 0, most: none},
	{what: "allocations added per request, layer alone", sample: "Layer/handler=gin added-allocs/req", digits: 0, most: 0, shown: "0"},
	// The runtime's own few, and pools that a collection has emptied, are counted here.
	{what: "allocations added per request, TCP", sample: "Request added-allocs/req", digits: 3, most: 0.01, shown: "0 (< 0.01)", noise: "Request same-allocs/req"},
	{what: "processor time added, Gin JSON route, TCP", sample: "Request added-cpu-%", unit: "%", digits: 2, most: 1, noise: "Request same-cpu-%"},
	{what: "processor time added, WebSocket echo of 100 B", sample: "Echo/size=100 added-cpu-%", unit: "%", digits: 2, most: 3, noise: "Echo/size=100 same-cpu-%"},
	{what: "  noise: a second bare server", sample: "Echo/size=100 same-cpu-%", unit: "%", digits: 2, most: none},
	{what: "processor time added, WebSocket echo of 4 KB", sample: "Echo/size=4096 added-cpu-%", unit: "%", digits: 2, most: 3, noise: "Echo/size=4096 same-cpu-%"},
	{what: "  noise: a second bare server", sample: "Echo/size=4096 same-cpu-%", unit: "%", digits: 2, most: none},
	{what: "memory added per idle connection", sample: "IdleConnection added-B/conn", unit: "B", digits: 0, most: 1024},
	{what: "trigger to serving, `segue restart`, over start and trial", sample: "Restart/by=command over-ms", unit: "ms", digits: 1, most: 20},
	{what: "  over the control API", sample: "Restart/by=api over-ms", unit: "ms", digits: 1, most: 20},
	{what: "  SIGUSR2, without a supervisor", sample: "Restart/by=signal over-ms", unit: "ms", digits: 1, most: 20},
}

// judgement of a figure.
type judgement int

const (
	unasked judgement = iota
	met
	undecided
	missed
	unmeasured
)

var judgements = [...]string{"-", "met", "undecided: the interval crosses the target", "MISSED", "not measured"}

// figure is a target with what was measured.
type figure struct {
	target
	median, lo, hi float64
	confidence     float64
	judgement      judgement
	indistinct     bool // not to be told from no difference
}

func (t target) figure(s samples) figure {
	f := figure{target: t, median: sample.Median(s[t.sample])}
	f.lo, f.hi, f.confidence = sample.Interval(s[t.sample])
	switch {
	case len(s[t.sample]) == 0:
		f.judgement = unmeasured
	case math.IsNaN(t.most):
		f.judgement = unasked
	case f.hi <= t.most:
		f.judgement = met
	case f.lo > t.most:
		f.judgement = missed
	default:
		f.judgement = undecided
	}
	if lo, hi, _ := sample.Interval(s[t.noise]); t.noise != "" {
		f.indistinct = f.lo <= 0 && f.hi >= 0 || math.Abs(f.median) <= max(math.Abs(lo), math.Abs(hi))
	}
	return f
}

func (f figure) asked() string {
	switch {
	case math.IsNaN(f.most):
		return ""
	case f.shown != "":
		return f.shown
	}
	return fmt.Sprintf("<= %g %s", f.most, f.unit)
}

func (f figure) measured() string {
	if f.judgement == unmeasured {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%.*f %s", f.digits, zero(f.median, f.digits), f.unit))
}

func (f figure) interval() string {
	if f.judgement == unmeasured {
		return ""
	}
	return fmt.Sprintf("%.*f to %.*f", f.digits, zero(f.lo, f.digits), f.digits, zero(f.hi, f.digits))
}

func (f figure) verdict() string {
	v := judgements[f.judgement]
	if f.indistinct {
		v += "; below the noise"
	}
	return v
}

// zero avoids "-0".
func zero(v float64, digits int) float64 {
	if math.Abs(v) < 0.5*math.Pow10(-digits) {
		return 0
	}
	return v
}
