package handover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Default budgets of a [Restart].
const (
	DefaultReadyTimeout = 30 * time.Second
	DefaultTrial        = time.Second
	DefaultProbation    = 5 * time.Second

	// CallTimeout bounds one verb.
	CallTimeout = 5 * time.Second

	// MoveTimeout bounds StepMove. What has not moved by then goes on to, after Run.
	MoveTimeout = 10 * time.Second

	trialEvery         = 100 * time.Millisecond
	probationEvery     = 250 * time.Millisecond
	probationTolerates = 2 // failures in a row; one probe may meet a busy machine
	exitNoticed        = 250 * time.Millisecond
)

// Incumbent is the old generation as a [Restart] sees it: over the wire, or this
// very process.
type Incumbent interface {
	Done() <-chan struct{} // closed when the process has ended
	Err() error            // how it ended; nil before
	Steerable() bool       // it answers verbs; only meaningful once it is ready
	// Call returns when v has happened.
	Call(ctx context.Context, v Verb) error
}

// Generation is a new generation as a [Restart] sees it.
type Generation interface {
	Incumbent
	Ready() <-chan struct{} // closed when it has said that it is ready
	// End begins to end a generation that is not wanted any more: at once, or
	// after what it has accepted is finished. It does not wait.
	End(graceful bool)
}

// Restart is one attempt to put a new generation in the place of an old one: a
// transaction with a way back. The zero budgets mean no time at all: a trial or
// probation of 0 is one proof, a generation must be ready when it is spawned; use
// the Default constants.
type Restart struct {
	Old          Incumbent // nil when nothing serves: then there is neither trial nor probation
	Spawn        func(ctx context.Context) (Generation, error)
	Probe        func(ctx context.Context, next Generation) error // in addition to the generation's own checks; may be nil
	ReadyTimeout time.Duration
	ProbeWithin  time.Duration // bounds one call of Probe; 0 is CallTimeout
	Trial        time.Duration
	Probation    time.Duration
	MoveWithin   time.Duration // bounds StepMove when it is shorter than MoveTimeout; 0 is MoveTimeout

	// Move has the live connections of the old generation, which is paused, go to
	// next: those that can at once, so that it can be resumed and serves the others
	// as before. It returns when no more can, or ctx has ended, with what was out of
	// the ordinary, which is no failure. Nil when nothing is to move.
	Move func(ctx context.Context, next Generation) (note string)

	Progress func(Step) // called as steps begin and end, from Run's goroutine; may be nil
}

// StepName names a step of a restart.
type StepName string

// The steps, in order. There is a StepMove if there is a Move and the old
// generation was paused; what fails it is that the new generation has ended, or
// hears nothing any more. StepDrain belongs to the generation that leaves and comes after Run
// has returned: whoever owns it appends it to the report. StepRollback comes after
// the step that failed, in place of the rest; a StepMove after it is the way back,
// which is the owner's, too.
const (
	StepSpawn     StepName = "spawn"
	StepReady     StepName = "ready"
	StepTrial     StepName = "trial"
	StepSwitch    StepName = "switch"
	StepProbation StepName = "probation"
	StepMove      StepName = "move"
	StepDrain     StepName = "drain"
	StepRollback  StepName = "rollback"
)

// Step is one step of a restart that has begun or ended.
type Step struct {
	Name  StepName      `json:"name"`
	Began time.Time     `json:"began"`
	Took  time.Duration `json:"took_ns"` // 0 while it lasts
	Ended bool          `json:"ended"`
	Note  string        `json:"note,omitempty"` // what was out of the ordinary, though not a failure
	Error string        `json:"error,omitempty"`
}

// Outcome of a restart.
type Outcome string

const (
	Done       Outcome = "done"        // the new generation serves
	RolledBack Outcome = "rolled back" // the old generation serves, as before
	Failed     Outcome = "failed"      // nothing serves: there was no old generation, it has ended, or it did not resume
)

// Report is the account of a restart.
type Report struct {
	Outcome Outcome  `json:"outcome"`
	Failed  StepName `json:"failed_step,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Steps   []Step   `json:"steps"`

	// What was lost with a new generation that died. Whoever holds its journal
	// fills it in ([ReadJournal]).
	Lost     []Lost `json:"lost,omitempty"`
	LostMore int    `json:"lost_more,omitempty"` // that many more are not named
}

// Run restarts. It returns the new generation, to which everything now
// belongs, or nil when the old one goes on. The old generation is not drained:
// that is for the caller, once Run has returned the new one. Ending ctx rolls
// back, with its cause as the reason.
func (r Restart) Run(ctx context.Context) (Generation, Report) {
	a := &attempt{Restart: r}
	err := a.run(ctx)
	if err == nil {
		a.report.Outcome = Done
		return a.next, a.report
	}
	a.report.Reason = err.Error()
	a.rollBack(context.WithoutCancel(ctx))
	return nil, a.report
}

type attempt struct {
	Restart
	next     Generation
	accepted bool // the new generation may have accepted connections
	paused   bool // the old generation may have paused
	quiet    bool // it has
	report   Report
}

func (a *attempt) run(ctx context.Context) error {
	if err := a.step(ctx, StepSpawn, func(ctx context.Context, _ *string) (err error) {
		a.next, err = a.Spawn(ctx)
		return err
	}); err != nil {
		return err
	}
	// From here on the end of the new generation ends whatever waits for it.
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-a.next.Done():
			cancel(a.gone())
		case <-ctx.Done():
		}
	})
	defer watch.Wait()
	defer cancel(nil)
	if err := a.step(ctx, StepReady, a.awaitReady); err != nil {
		return err
	}
	if !a.next.Steerable() { // it serves since it is ready: there is nothing to try, switch or pause
		if a.Old == nil || a.Probe == nil {
			return nil
		}
		return a.step(ctx, StepProbation, func(ctx context.Context, note *string) error {
			*note = "the new generation cannot be steered: the old one accepts as well, and may be the one that has answered a probe"
			return a.observe(ctx, a.Probation, probationEvery, probationTolerates, note)
		})
	}
	if a.Old == nil {
		return a.step(ctx, StepSwitch, func(ctx context.Context, note *string) error {
			if err := a.open(ctx, note); err != nil {
				return err
			}
			return a.proven(ctx, note)
		})
	}
	if err := a.step(ctx, StepTrial, a.trial); err != nil {
		return err
	}
	if err := a.step(ctx, StepSwitch, a.turn); err != nil {
		return err
	}
	if err := a.step(ctx, StepProbation, a.probation); err != nil || !a.moves() {
		return err
	}
	return a.step(ctx, StepMove, a.move)
}

// step runs do and keeps the account. When ctx has ended or the new generation
// is gone, the step has failed and that is the reason, whatever do noticed first:
// a select takes any of the channels that are ready.
func (a *attempt) step(ctx context.Context, name StepName, do func(context.Context, *string) error) error {
	s := Step{Name: name, Began: time.Now()}
	a.progress(s)
	err := do(ctx, &s.Note)
	if err != nil && a.next != nil {
		a.awaitExit(ctx)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if gone := a.gone(); gone != nil && name != StepSpawn { // that it ended is for the step that waits for it
		err = gone
	}
	if err != nil {
		s.Error = err.Error()
		a.report.Failed = name
	}
	s.Took, s.Ended = time.Since(s.Began), true
	a.report.Steps = append(a.report.Steps, s)
	a.progress(s)
	return err
}

func (a *attempt) progress(s Step) {
	if a.Progress != nil {
		a.Progress(s)
	}
}

// gone says how the new generation ended; nil while it runs.
func (a *attempt) gone() error {
	if a.next == nil {
		return nil
	}
	select {
	case <-a.next.Done():
		return fmt.Errorf("the new generation %w", a.next.Err())
	default:
		return nil
	}
}

// awaitExit: a link or a probe ends a moment before its process can be reaped.
func (a *attempt) awaitExit(ctx context.Context) {
	late := time.NewTimer(exitNoticed)
	defer late.Stop()
	select {
	case <-ctx.Done():
	case <-late.C:
	}
}

// awaitReady: a generation that cannot be steered accepts from then on.
func (a *attempt) awaitReady(ctx context.Context, _ *string) error {
	late := time.NewTimer(a.ReadyTimeout)
	defer late.Stop()
	select {
	case <-a.next.Ready():
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-late.C:
		select {
		case <-a.next.Ready(): // in the same moment
		default:
			if !a.next.Steerable() {
				return fmt.Errorf("the new generation did not say READY=1 within %v: it must use package segue, or speak sd_notify(3)", a.ReadyTimeout)
			}
			return fmt.Errorf("the new generation did not become ready within %v", a.ReadyTimeout)
		}
	}
	a.accepted = !a.next.Steerable()
	return nil
}

func (a *attempt) trial(ctx context.Context, note *string) error {
	if err := a.call(ctx, a.next, Trial); err != nil {
		return err
	}
	return a.observe(ctx, a.Trial, trialEvery, 0, note)
}

func (a *attempt) open(ctx context.Context, _ *string) error {
	a.accepted = true
	return a.call(ctx, a.next, Open)
}

// turn opens the new one before it pauses the old one, so that the socket is
// never without somebody who accepts. An old generation that does not answer is
// no reason to keep it: it may be the reason for the restart.
func (a *attempt) turn(ctx context.Context, note *string) error {
	if err := a.open(ctx, note); err != nil {
		return err
	}
	if !a.Old.Steerable() {
		*note = "the old generation cannot be paused: both accept until it has left"
		return nil
	}
	a.paused = true
	if err := a.call(ctx, a.Old, Pause); err != nil {
		*note = fmt.Sprintf("the old generation could not be paused: %v", err)
		return nil
	}
	a.quiet = true
	return nil
}

func (a *attempt) probation(ctx context.Context, note *string) error {
	if err := a.observe(ctx, a.Probation, probationEvery, probationTolerates, note); err != nil || a.moves() {
		return err
	}
	return a.proven(ctx, note)
}

// moves says whether connections are to move. A generation that did not answer
// PAUSE would not answer this.
func (a *attempt) moves() bool { return a.Move != nil && a.quiet }

// move is the last step that can be taken back. The new generation is proven after
// it: if it dies here, its journal names what it had taken over and is lost with
// it. That connections cannot move is no reason not to restart.
func (a *attempt) move(ctx context.Context, note *string) error {
	if err := a.Old.Err(); err != nil {
		*note = fmt.Sprintf("nobody is left: the old generation %v", err)
		return a.proven(ctx, note)
	}
	most := a.MoveWithin
	if most <= 0 || most > MoveTimeout {
		most = MoveTimeout
	}
	within, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("it was not over within %v", most))
	defer cancel()
	*note = a.Move(within, a.next)
	if ctx.Err() != nil {
		*note = "" // what could not be done any more
		return context.Cause(ctx)
	}
	if *note != "" && a.Old.Err() == nil { // because it hears nothing at all?
		if err := a.call(ctx, a.next, Check); errors.Is(err, errSilent) {
			return fmt.Errorf("%s; and the new generation does not answer any more: %w", *note, err)
		}
	}
	return a.proven(ctx, note)
}

// proven tells the new generation. One that does not know the verb, or does not
// answer, serves all the same. One whose link has ended is about to end itself.
func (a *attempt) proven(ctx context.Context, note *string) error {
	err := a.call(ctx, a.next, Proven)
	if err == nil || errors.Is(err, ErrLinkClosed) {
		return err
	}
	if *note != "" {
		*note += "; "
	}
	*note += fmt.Sprintf("the new generation could not be told that it is proven: %v", err)
	return nil
}

// observe proves the new generation for d, at least once. It ends early when
// the old one is gone: there is nothing to go back to, and clients wait.
func (a *attempt) observe(ctx context.Context, d, every time.Duration, tolerate int, note *string) error {
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for failures := 0; ; {
		err := a.prove(ctx)
		if err == nil {
			failures = 0
		} else if failures++; failures > tolerate || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.Old.Done():
			*note = fmt.Sprintf("cut short: the old generation %v", a.Old.Err())
			return nil
		case <-end.C:
			return err // the last word counts
		case <-tick.C:
		}
	}
}

func (a *attempt) prove(ctx context.Context) error {
	if a.next.Steerable() {
		if err := a.call(ctx, a.next, Check); err != nil {
			return err
		}
	}
	if a.Probe == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.ProbeWithin, CallTimeout))
	defer cancel()
	return a.Probe(ctx, a.next)
}

var errSilent = fmt.Errorf("nothing came within %v", CallTimeout)

func (a *attempt) call(ctx context.Context, g Incumbent, v Verb) error {
	ctx, cancel := context.WithTimeoutCause(ctx, CallTimeout, errSilent)
	defer cancel()
	return g.Call(ctx, v)
}

// rollBack has the old generation accept again before anything is done to the
// new one.
func (a *attempt) rollBack(ctx context.Context) {
	a.report.Outcome = RolledBack
	if a.Old == nil || a.Old.Err() != nil {
		a.report.Outcome = Failed
	}
	if a.next == nil {
		return
	}
	s := Step{Name: StepRollback, Began: time.Now()}
	a.progress(s)
	if a.paused && a.report.Outcome == RolledBack {
		if err := a.call(ctx, a.Old, Resume); err != nil {
			s.Error = fmt.Sprintf("the old generation did not resume: %v", err)
			a.report.Outcome = Failed
		}
	}
	a.next.End(a.accepted)
	s.Took, s.Ended = time.Since(s.Began), true
	a.report.Steps = append(a.report.Steps, s)
	a.progress(s)
}
