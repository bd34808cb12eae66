package segue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/segue-go/segue/handover"
)

// handing is a handover from this process to its successor.
type handing struct {
	cancel context.CancelCauseFunc
	over   bool          // the loop's: its outcome has been acted upon
	done   chan struct{} // closed when its outcome is decided
	heir   *successor    // written before done is closed; nil when none could be started
}

// refusal is why a process cannot be replaced by a child of its own.
func refusal(pid int, getenv func(string) string) error {
	switch {
	case pid == 1:
		return errors.New("cannot hand over as PID 1: the container ends with this process; start the service with `segue run`")
	case getenv("SUPERVISOR_ENABLED") != "":
		return errors.New("cannot hand over under supervisord: it would start a second copy when this process leaves; let supervisord start `segue run`")
	}
	return nil
}

// upgrade begins a handover, or has the supervisor begin a restart.
func (m *machine) upgrade() {
	if m.link != nil && m.in.Predecessor == 0 {
		go func() {
			if err := m.link.upgrade(); err != nil {
				m.out.emit(Problem{err})
			}
		}()
		return
	}
	err := refusal(os.Getpid(), os.Getenv)
	switch {
	case err != nil:
	case m.handing != nil && !m.handing.over:
		err = errors.New("cannot hand over: a handover is under way; wait for its end")
	case !m.main.Load():
		err = errors.New("cannot hand over while the predecessor may take the service back; wait until it has let go")
	case m.phase != Ready:
		err = fmt.Errorf("cannot hand over while the service is %v", m.phase)
	}
	if err != nil {
		m.out.emit(Problem{err})
		if m.phase == Ready && (m.handing == nil || m.handing.over) { // systemctl reload waits for an answer
			m.announceReload()
			m.status = "serving; " + oneLine(err.Error())
			m.sayStatus("READY=1")
		}
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	h := &handing{cancel: cancel, done: make(chan struct{})}
	m.handing = h
	go func() {
		report := m.handOver(ctx, h)
		close(h.done)
		m.do(func() error { m.handedOver(h, report); return nil })
	}()
}

// handedOver ends a handover: the successor serves and this process leaves, or
// this process goes on.
func (m *machine) handedOver(h *handing, r handover.Report) {
	h.over = true
	if r.Outcome != handover.Done {
		m.out.emit(HandoverEnded{0, r})
		if m.phase < Draining {
			m.status = "serving; the last handover was rolled back: " + oneLine(r.Reason)
			m.sayStatus("READY=1")
		}
		return
	}
	pid := h.heir.process.PID
	m.out.emit(HandoverEnded{pid, r})
	if m.phase >= Draining {
		h.heir.leave() // it was too late to give it up, and the service is to end
		return
	}
	m.spared = true
	m.leave("process "+strconv.Itoa(pid)+" serves", true)
}

// handOver starts a successor and runs the restart with this process as the
// old generation. It does not touch the loop's state.
func (m *machine) handOver(ctx context.Context, h *handing) handover.Report {
	failed := func(err error) handover.Report {
		return handover.Report{Outcome: handover.RolledBack, Failed: handover.StepSpawn, Reason: err.Error()}
	}
	m.announceReload()
	dir, err := os.MkdirTemp("", "segue-")
	if err != nil {
		return failed(fmt.Errorf("cannot make a directory for the control socket: %w", err))
	}
	defer os.RemoveAll(dir)
	control, err := handover.ListenControl(filepath.Join(dir, "control"))
	if err != nil {
		return failed(err)
	}
	defer control.Close()
	next, report := handover.Restart{
		Old: incumbent{m},
		Spawn: func(context.Context) (handover.Generation, error) {
			next, err := m.spawn(control, dir)
			if err != nil {
				return nil, err
			}
			h.heir = next
			return next, nil
		},
		ReadyTimeout: m.opts.StartTimeout,
		Trial:        m.opts.Trial,
		Probation:    m.opts.Probation,
		MoveWithin:   m.opts.DrainTimeout,
		Move:         func(ctx context.Context, _ handover.Generation) string { return m.moveTo(ctx, h.heir) },
		Progress:     func(s handover.Step) { m.out.emit(HandoverStep{s}) },
	}.Run(ctx)
	if next == nil {
		m.lostWith(h.heir, &report)
		return report
	}
	if j := h.heir.journal; j != nil {
		j.Close()
	}
	// Only now may systemd follow the new process: the death of the main
	// process ends the unit (MAINPID= in sd_notify(3)).
	pid := strconv.Itoa(h.heir.process.PID)
	m.speech.Lock()
	m.notify.Send("MAINPID="+pid, "READY=1", "STATUS=serving as process "+pid)
	m.main.Store(false)
	m.speech.Unlock()
	ctx, cancel := context.WithTimeout(ctx, handover.CallTimeout)
	defer cancel()
	if err := m.notify.Barrier(ctx); err != nil {
		m.out.emit(Problem{err})
	}
	close(h.heir.released)
	return report
}

// moveTo has the live connections that can go at once go to the successor. A move
// that has not ended with ctx goes on in the drain, or is ended by resume.
func (m *machine) moveTo(ctx context.Context, next *successor) (note string) {
	to, err := next.adopts(ctx)
	var d *departure
	if err == nil {
		d, err = m.move(to)
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return ""
	case err != nil:
		return fmt.Sprintf("connections do not move: %v", err)
	}
	select {
	case <-d.moved:
		_, failure := d.outcome()
		return failure
	case <-ctx.Done():
		return fmt.Sprintf("connections go on to move: %v", context.Cause(ctx))
	}
}

// incumbent is this process as the old generation of a handover.
type incumbent struct{ m *machine }

// never is the end of what cannot end before this process.
var never = make(chan struct{})

func (i incumbent) Done() <-chan struct{} { return never }
func (i incumbent) Err() error            { return nil }
func (i incumbent) Steerable() bool       { return true }

func (i incumbent) Call(_ context.Context, v handover.Verb) error {
	switch v {
	case handover.Pause:
		return i.m.do(i.m.pause)
	case handover.Resume:
		return i.m.resume()
	}
	return fmt.Errorf("cannot do %s to oneself", v)
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }
