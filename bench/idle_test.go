package bench

import (
	"testing"

	"github.com/segue-go/segue/bench/internal/raw"
	"github.com/segue-go/segue/bench/internal/sample"
	"github.com/segue-go/segue/bench/internal/subject"
)

// idle is how many connections wait at a time; both ends are descriptors of this
// machine, in two processes.
const idle = 3000

// Memory of a server for a keep-alive connection that has had an answer and
// waits: heap and stacks of the server process after a garbage collection. The
// kernel's part is the same for both and not included. An iteration is a fresh
// bare server and a fresh one under segue.
func BenchmarkIdleConnection(b *testing.B) {
	type bytes struct{ bare, segue float64 }
	var rounds, stacks []bytes
	for b.Loop() {
		var all, stack bytes
		all.bare, stack.bare = perConnection(b, subject.Bare)
		all.segue, stack.segue = perConnection(b, subject.Segue)
		rounds, stacks = append(rounds, all), append(stacks, stack)
	}
	noTime(b)
	b.ReportMetric(sample.MedianOf(rounds, func(r bytes) float64 { return r.bare }), "bare-B/conn")
	b.ReportMetric(sample.MedianOf(rounds, func(r bytes) float64 { return r.segue }), "segue-B/conn")
	b.ReportMetric(sample.MedianOf(rounds, func(r bytes) float64 { return r.segue - r.bare }), "added-B/conn")
	b.ReportMetric(sample.MedianOf(stacks, func(r bytes) float64 { return r.segue - r.bare }), "added-stack-B/conn")
}

func perConnection(b *testing.B, kind string) (all, stack float64) {
	p, err := subject.Start(kind)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Stop()
	first, err := raw.Dial(p.Addr, subject.PathItem, 1) // what the first request alone leaves behind is not the connection's
	if err != nil {
		b.Fatal(err)
	}
	defer first.Close()
	before := ask(b, p, subject.PathMemory)
	load, err := raw.Dial(p.Addr, subject.PathItem, idle)
	if err != nil {
		b.Fatal(err)
	}
	defer load.Close()
	after := ask(b, p, subject.PathMemory)
	heap := float64(int64(after.Heap - before.Heap))
	stack = float64(int64(after.Stack - before.Stack))
	return (heap + stack) / idle, stack / idle
}
