package subject

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"time"

	"github.com/segue-go/segue"
	"github.com/segue-go/segue/handover"
	"golang.org/x/sys/unix"
)

// What a Lineage is told by its environment.
const (
	EnvParent    = "SEGUE_BENCH_PID"       // pid of the benchmark
	EnvTrial     = "SEGUE_BENCH_TRIAL"     // of a handover by SIGUSR2
	EnvProbation = "SEGUE_BENCH_PROBATION" // likewise
)

// Line is what a Lineage without a supervisor writes to its standard output,
// as JSON, one of the fields at a time. Successors write to the same place.
type Line struct {
	Addr   string           `json:",omitempty"` // serving here
	Step   *handover.Step   `json:",omitempty"` // of a handover, ended
	Report *handover.Report `json:",omitempty"`
	PID    int              `json:",omitempty"` // of the successor, with Report
}

// lineage serves until it is replaced, told to leave, or the benchmark is gone.
func lineage() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	parent, err := strconv.Atoi(os.Getenv(EnvParent))
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(parent, 0)
	if err != nil {
		return err
	}
	go func() {
		for {
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); err != unix.EINTR {
				break
			}
		}
		cancel()
	}()
	self.Generation, _ = strconv.Atoi(os.Getenv(handover.EnvGeneration))
	out := json.NewEncoder(os.Stdout)
	o := segue.Options{Trial: span(EnvTrial), Probation: span(EnvProbation), Events: func(e segue.Event) {
		switch e := e.(type) {
		case segue.Listening:
			out.Encode(Line{Addr: e.Addr})
		case segue.HandoverStep:
			if e.Step.Ended {
				out.Encode(Line{Step: &e.Step})
			}
		case segue.HandoverEnded:
			out.Encode(Line{Report: &e.Report, PID: e.PID})
		}
	}}
	return segue.Run(ctx, o, func(_ context.Context, app *segue.App) error {
		self.SetupBegan = time.Now()
		app.HTTP("web", "127.0.0.1:0", Router())
		self.SetupEnded = time.Now()
		return nil
	})
}

func span(env string) time.Duration {
	d, _ := time.ParseDuration(os.Getenv(env))
	return d
}
