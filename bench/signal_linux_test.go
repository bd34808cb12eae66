package bench

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/bench/internal/subject"
	"github.com/segue-go/segue/handover"
	"golang.org/x/sys/unix"
)

// lineage is a service without a supervisor: each process is the child of the
// one before, and becomes ours when that one has left.
type lineage struct {
	pid   int // of the generation that serves
	addr  string
	lines chan subject.Line // closed when the last process has ended
}

func startLineage(b *testing.B) *lineage {
	b.Helper()
	// Orphans come to us instead of to process 1, so that their end can be waited for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		b.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	in, out, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	p, err := os.StartProcess(exe, []string{exe}, &os.ProcAttr{
		Files: []*os.File{nil, out, os.Stderr},
		Env: append(os.Environ(), subject.EnvKind+"="+subject.Lineage, fmt.Sprintf("%s=%d", subject.EnvParent, os.Getpid()),
			subject.EnvTrial+"="+trial.String(), subject.EnvProbation+"="+probation.String()),
	})
	out.Close()
	if err != nil {
		b.Fatal(err)
	}
	l := &lineage{pid: p.Pid, lines: make(chan subject.Line, 64)}
	p.Release() // wait4 is told pids, of this process as of its successors
	go func() { defer in.Close(); decode(in, l.lines) }()
	b.Cleanup(func() {
		syscall.Kill(l.pid, syscall.SIGTERM)
		if err := reap(l.pid); err != nil {
			b.Error(err)
		}
		for range l.lines {
		}
	})
	l.await(b, func(line subject.Line) bool { l.addr = line.Addr; return line.Addr != "" })
	return l
}

// await reads lines until one fits.
func (l *lineage) await(b *testing.B, fits func(subject.Line) bool) {
	b.Helper()
	late := time.After(patience)
	for {
		select {
		case line, more := <-l.lines:
			if !more {
				b.Fatal("the service has ended")
			}
			if fits(line) {
				return
			}
		case <-late:
			b.Fatal("what was waited for did not happen")
		}
	}
}

// reap returns when the process has ended.
func reap(pid int) error {
	for {
		_, err := unix.Wait4(pid, nil, 0, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

func bySignal(b *testing.B) {
	l := startLineage(b)
	now, err := subject.Ask(l.addr, subject.PathFacts)
	if err != nil {
		b.Fatal(err)
	}
	var all []parts
	for b.Loop() {
		t := timeline{trigger: time.Now()}
		if err := syscall.Kill(now.PID, syscall.SIGUSR2); err != nil {
			b.Fatal(err)
		}
		l.await(b, func(line subject.Line) bool {
			if line.Step != nil {
				t.note(line.Step.Name, line.Step.Began, line.Step.Took)
			}
			return line.Step != nil && line.Step.Name == handover.StepSwitch
		})
		if err := t.answer(l.addr, now.PID); err != nil {
			b.Fatal(err)
		}
		l.await(b, func(line subject.Line) bool {
			if line.Report != nil && line.PID == 0 {
				b.Fatalf("the handover was %s: %s", line.Report.Outcome, line.Report.Reason)
			}
			return line.Report != nil
		})
		if err := reap(now.PID); err != nil {
			b.Fatal(err)
		}
		now, l.pid = t.next, t.next.PID
		all = append(all, t.parts())
	}
	reportParts(b, all)
}
