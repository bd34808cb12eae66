package supervise_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testproc"
)

// TestFollowAcrossGenerationsAndArchives: every line of every generation comes
// once, whole and in order, while their logs are archived.
func TestFollowAcrossGenerationsAndArchives(t *testing.T) {
	const lines = 100_000
	script := fmt.Sprintf("exec 2>/dev/null; seq -f 'line %%.0f' 1 %d; trap 'seq -f \"line %%.0f\" %d %d; exit' TERM; while :; do sleep 0.01; done", lines-10, lines-9, lines)
	c := supervise.Config{
		Name: "test", Argv: []string{"/bin/sh", "-c", script}, Speaks: supervise.SpeaksNothing, RuntimeDir: t.TempDir(),
		ReadyTimeout: 30 * time.Second, DrainTimeout: 30 * time.Second,
		Logs: supervise.Logs{Size: 64 << 10, Plain: true},
	}
	s, err := supervise.New(c)
	if err != nil {
		t.Fatal(err)
	}
	events, _ := s.Subscribe()
	ran := make(chan error, 1)
	go func() { ran <- s.Run(context.Background()) }()
	archived := func(generation int) {
		testproc.Until(t, "the log is archived", func() bool {
			all, _ := filepath.Glob(filepath.Join(c.RuntimeDir, "logs", fmt.Sprint(generation, ".log.*")))
			return len(all) > 0
		})
	}
	for e := range events {
		if e.Kind == client.EventState && e.State == client.Serving {
			break
		}
	}
	got := &numbered{t: t, of: map[int]int{}}
	followed := make(chan error, 1)
	go func() {
		followed <- s.Follow(context.Background(), 0, true, func(n int) string { return fmt.Sprintf("%d|", n) }, got)
	}()
	archived(1)
	if report, err := s.Restart(context.Background(), client.RestartRequest{}); err != nil || report.Outcome != client.Done {
		t.Fatalf("%+v, %v", report, err)
	}
	archived(2)
	if _, err := s.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if err := <-followed; err != nil {
		t.Error(err)
	}
	if got.of[1] != lines || got.of[2] != lines {
		t.Errorf("lines %v, want %d of each generation", got.of, lines)
	}
}

// numbered counts the lines of generations, which are to come in order.
type numbered struct {
	t  *testing.T
	of map[int]int
}

func (n *numbered) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		var generation, number int
		if _, err := fmt.Sscanf(string(line), "%d|line %d\n", &generation, &number); err != nil || number != n.of[generation]+1 {
			return 0, fmt.Errorf("line %d of generation %d is %q", n.of[generation]+1, generation, line)
		}
		n.of[generation]++
	}
	return len(p), nil
}
