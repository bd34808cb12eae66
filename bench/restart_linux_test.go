package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/bench/internal/subject"
	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// patience is how long anything may take before the benchmark is given up.
const patience = 30 * time.Second

// From the trigger to the first answer of the new generation. An iteration is
// one restart, in one lineage, with nobody else connected:
//
//	by=command  the command `segue restart`, its own start included
//	by=api      the same over the control API
//	by=signal   SIGUSR2, without a supervisor
//
// over-ms is total-ms less start-ms, the program's own start, and trial-ms; the
// metrics that begin with over- are its parts. Each is a median of its own, so
// that they add up only nearly.
func BenchmarkRestart(b *testing.B) {
	segue := filepath.Join(b.TempDir(), "segue")
	build := exec.Command("go", "build", "-o", segue, "github.com/segue-go/segue/cmd/segue")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("cannot build the command: %v\n%s", err, out)
	}
	b.Run("by=command", func(b *testing.B) {
		s := supervised(b, segue)
		s.measure(b, func() error {
			cmd := exec.Command(segue, "restart", "--name", s.name)
			cmd.Env = s.env
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			return nil
		})
	})
	b.Run("by=api", func(b *testing.B) {
		s := supervised(b, segue)
		s.measure(b, func() error {
			report, err := client.New(s.socket).Restart(context.Background(), "", client.RestartRequest{}, nil)
			if err == nil && report.Outcome != client.Done {
				err = fmt.Errorf("the restart was %s: %s", report.Outcome, report.Reason)
			}
			return err
		})
	})
	b.Run("by=signal", bySignal)
}

// supervisor is `segue run` with a Lineage.
type supervisor struct {
	name, socket string
	env          []string
	addr         string
	events       chan client.Event // closed when it has ended
}

// supervised starts one and returns when the service serves.
func supervised(b *testing.B, segue string) *supervisor {
	b.Helper()
	dir, err := os.MkdirTemp("", "segue-bench-") // b.TempDir may be too long for a socket
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	s := &supervisor{
		name: "bench", socket: filepath.Join(dir, "bench", "api.sock"),
		env:    append(os.Environ(), "SEGUE_RUNTIME_DIR="+dir),
		events: make(chan client.Event, 1024),
	}
	cmd := exec.Command(segue, "run", "--json", "--name", s.name, "--listen", "web=127.0.0.1:0",
		"--trial", trial.String(), "--probation", probation.String(),
		"--env", subject.EnvKind+"="+subject.Lineage, "--env", fmt.Sprintf("%s=%d", subject.EnvParent, os.Getpid()), "--", exe)
	cmd.Env = s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	go decode(out, s.events)
	b.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		for range s.events {
		}
		if err := cmd.Wait(); err != nil {
			b.Error("segue run:", err)
		}
	})
	s.await(b, func(e client.Event) bool { return e.Kind == client.EventState && e.State == client.Serving })
	all, err := client.New(s.socket).Overview(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	s.addr = all.Services[0].Sockets[0].Addr
	return s
}

// await reads events until one fits.
func (s *supervisor) await(b *testing.B, fits func(client.Event) bool) {
	b.Helper()
	late := time.After(patience)
	for {
		select {
		case e, more := <-s.events:
			if !more {
				b.Fatal("segue run has ended")
			}
			if fits(e) {
				return
			}
		case <-late:
			b.Fatal("what was waited for did not happen")
		}
	}
}

// measure restarts in each iteration; trigger returns when the restart is over.
func (s *supervisor) measure(b *testing.B, trigger func() error) {
	now, err := subject.Ask(s.addr, subject.PathFacts)
	if err != nil {
		b.Fatal(err)
	}
	var all []parts
	for b.Loop() {
		over := make(chan error, 1)
		t := timeline{trigger: time.Now()}
		go func() { over <- trigger() }()
		s.await(b, func(e client.Event) bool {
			if e.Kind == client.EventStep && e.Ended {
				t.note(handover.StepName(e.Step.Name), e.Step.Began, e.Step.Took)
			}
			return e.Kind == client.EventStep && e.Ended && e.Step.Name == string(handover.StepSwitch)
		})
		if err := t.answer(s.addr, now.PID); err != nil {
			b.Fatal(err)
		}
		s.await(b, func(e client.Event) bool { return e.Kind == client.EventExit && e.PID == now.PID })
		if err := <-over; err != nil {
			b.Fatal(err)
		}
		now = t.next
		all = append(all, t.parts())
	}
	reportParts(b, all)
}

// decode reads JSON values until r ends.
func decode[T any](r io.Reader, to chan<- T) {
	defer close(to)
	for in := json.NewDecoder(r); ; {
		var v T
		if in.Decode(&v) != nil {
			return
		}
		to <- v
	}
}
