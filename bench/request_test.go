package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/segue-go/segue/bench/internal/raw"
	"github.com/segue-go/segue/bench/internal/sample"
	"github.com/segue-go/segue/bench/internal/subject"
)

const (
	clients = 16   // keep-alive connections to each server
	turn    = 1000 // requests in a row to one server, about 20 ms
	warmUp  = 16000
)

// orders in which three servers take their turns: each is in each place, and
// follows each other one, equally often.
var orders = [...][3]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {0, 2, 1}, {2, 0, 1}, {1, 0, 2}}

// spent is what one turn took.
type spent struct{ wall, cpu float64 } // ns per request

// Requests to a bare server, the same under segue, and a second bare one for the
// noise. An iteration is one turn of each. A benchtime that is a multiple of six
// turns (-benchtime 24x) uses every order equally often.
//
//	lost-%            of throughput under segue
//	added-cpu-ns/req  processor time of the server process
//	added-allocs/req  objects allocated by the server process
//	same-*            the second bare server against the first, in the same way
//
// Between two turns the server is asked for its facts, over a connection of its
// own. Throughput leaves that out; processor time has it on both sides.
func BenchmarkRequest(b *testing.B) {
	compare(b, func(addr string) (*raw.Load, error) { return raw.Dial(addr, subject.PathItem, clients) })
}

// Messages of a WebSocket that are sent back, measured as BenchmarkRequest
// measures requests. added-cpu-% is the processor time that is added, of that of
// the bare server.
func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{100, 4096} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			compare(b, func(addr string) (*raw.Load, error) { return raw.DialEcho(addr, subject.PathEcho, clients, size) })
		})
	}
}

// compare measures a load against three servers by turns.
func compare(b *testing.B, dial func(addr string) (*raw.Load, error)) {
	var servers [3]*subject.Process
	var loads [3]*raw.Load
	for i, kind := range []string{subject.Bare, subject.Segue, subject.Bare} {
		servers[i] = start(b, kind)
		load, err := dial(servers[i].Addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(load.Close) // before the server is stopped
		loads[i] = load
		if _, err := load.Requests(warmUp); err != nil {
			b.Fatal(err)
		}
	}
	var rounds [][3]spent
	var allocs [3]float64
	for b.Loop() {
		var round [3]spent
		for _, i := range orders[len(rounds)%len(orders)] {
			before := ask(b, servers[i], subject.PathFacts)
			took, err := loads[i].Requests(turn)
			if err != nil {
				b.Fatal(err)
			}
			after := ask(b, servers[i], subject.PathFacts)
			round[i] = spent{float64(took) / turn, float64(after.CPU-before.CPU) / turn}
			allocs[i] += float64(after.Mallocs-before.Mallocs) / turn
		}
		rounds = append(rounds, round)
	}
	noTime(b)
	for i, name := range []string{"bare", "segue"} {
		b.ReportMetric(sample.MedianOf(rounds, func(r [3]spent) float64 { return float64(time.Second) / r[i].wall }), name+"-req/s")
		b.ReportMetric(sample.MedianOf(rounds, func(r [3]spent) float64 { return r[i].cpu }), name+"-cpu-ns/req")
	}
	b.ReportMetric(allocs[0]/float64(len(rounds)), "bare-allocs/req")
	for i, names := range [][4]string{
		1: {"lost-%", "added-cpu-ns/req", "added-allocs/req", "added-cpu-%"},
		2: {"same-%", "same-cpu-ns/req", "same-allocs/req", "same-cpu-%"},
	} {
		if i == 0 {
			continue
		}
		b.ReportMetric(sample.MedianOf(rounds, func(r [3]spent) float64 { return 100 * (1 - r[0].wall/r[i].wall) }), names[0])
		b.ReportMetric(sample.MedianOf(rounds, func(r [3]spent) float64 { return r[i].cpu - r[0].cpu }), names[1])
		b.ReportMetric((allocs[i]-allocs[0])/float64(len(rounds)), names[2])
		b.ReportMetric(sample.MedianOf(rounds, func(r [3]spent) float64 { return 100 * (r[i].cpu/r[0].cpu - 1) }), names[3])
	}
}
