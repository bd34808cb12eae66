package bench

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/segue-go/segue/bench/internal/subject"
	"go.uber.org/goleak"
)

// The test binary is the service as well.
func TestMain(m *testing.M) {
	began := time.Now()
	if kind := os.Getenv(subject.EnvKind); kind != "" {
		if err := subject.Main(kind, began); err != nil {
			fmt.Fprintln(os.Stderr, "subject:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// start starts a subject and stops it with the benchmark.
func start(b *testing.B, kind string) *subject.Process {
	b.Helper()
	p, err := subject.Start(kind)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := p.Stop(); err != nil {
			b.Errorf("the %s subject: %v", kind, err)
		}
	})
	return p
}

// ask gets the facts of a subject.
func ask(b *testing.B, p *subject.Process, path string) subject.Facts {
	b.Helper()
	f, err := subject.Ask(p.Addr, path)
	if err != nil {
		b.Fatal(err)
	}
	return f
}

// noTime leaves out ns/op, which says nothing where an iteration is a round of
// several turns.
func noTime(b *testing.B) { b.ReportMetric(0, "ns/op") }
