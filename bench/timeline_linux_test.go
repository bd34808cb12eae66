package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/segue-go/segue/bench/internal/sample"
	"github.com/segue-go/segue/bench/internal/subject"
	"github.com/segue-go/segue/handover"
)

// Budgets of the restarts that are measured. The trial is subtracted as it was
// asked for: what it takes beyond that is Segue's.
const (
	trial     = 100 * time.Millisecond
	probation = 50 * time.Millisecond
)

// timeline is one restart. All clocks are this machine's.
type timeline struct {
	trigger  time.Time                       // just before it was asked for
	ended    map[handover.StepName]time.Time // each step
	spawning time.Time
	answered time.Time     // a client has the first answer of the new generation
	next     subject.Facts // which that generation gave
}

// note takes down a step that has ended.
func (t *timeline) note(name handover.StepName, began time.Time, took time.Duration) {
	if t.ended == nil {
		t.ended = map[handover.StepName]time.Time{}
	}
	if name == handover.StepSpawn {
		t.spawning = began
	}
	t.ended[name] = began.Add(took)
}

// answer asks the service once, over a new connection. Called when the switch
// has ended, since only the new generation accepts then: what it returns late is
// counted, what it cannot see is an answer that another client had earlier.
func (t *timeline) answer(addr string, old int) error {
	f, err := subject.Ask(addr, subject.PathFacts)
	t.answered = time.Now()
	if err == nil && f.PID == old {
		err = fmt.Errorf("the old generation (%d) answered after the switch", old)
	}
	t.next = f
	return err
}

// parts of a timeline in ms; they add up to total.
type parts struct {
	total float64 // from the trigger to the answer
	start float64 // the program's own: from exec to main, and setup
	trial float64 // as asked for

	// What Segue adds.
	trigger float64 // until the request has arrived and the restart begins
	spawn   float64 // fork and exec
	ready   float64 // the link, the socket, the news of readiness
	tried   float64 // of the trial beyond its time
	turn    float64 // the switch
	answer  float64 // a connection, a request, an answer
}

func (t *timeline) parts() parts {
	ms := func(from, to time.Time) float64 { return float64(to.Sub(from)) / float64(time.Millisecond) }
	end := func(s handover.StepName) time.Time { return t.ended[s] }
	p := parts{
		total:   ms(t.trigger, t.answered),
		start:   ms(end(handover.StepSpawn), t.next.Main) + ms(t.next.SetupBegan, t.next.SetupEnded),
		trial:   float64(trial) / float64(time.Millisecond),
		trigger: ms(t.trigger, t.spawning),
		spawn:   ms(t.spawning, end(handover.StepSpawn)),
		turn:    ms(end(handover.StepTrial), end(handover.StepSwitch)),
		answer:  ms(end(handover.StepSwitch), t.answered),
	}
	p.ready = ms(end(handover.StepSpawn), end(handover.StepReady)) - p.start
	p.tried = ms(end(handover.StepReady), end(handover.StepTrial)) - p.trial
	return p
}

// over is what the target is about.
func (p parts) over() float64 { return p.total - p.start - p.trial }

// reportParts reports medians, and the longest of over.
func reportParts(b *testing.B, all []parts) {
	noTime(b)
	longest := 0.0
	for _, p := range all {
		longest = max(longest, p.over())
	}
	b.ReportMetric(longest, "over-max-ms")
	for _, m := range []struct {
		unit string
		of   func(parts) float64
	}{
		{"total-ms", func(p parts) float64 { return p.total }},
		{"start-ms", func(p parts) float64 { return p.start }},
		{"trial-ms", func(p parts) float64 { return p.trial }},
		{"over-ms", parts.over},
		{"over-trigger-ms", func(p parts) float64 { return p.trigger }},
		{"over-spawn-ms", func(p parts) float64 { return p.spawn }},
		{"over-ready-ms", func(p parts) float64 { return p.ready }},
		{"over-trial-ms", func(p parts) float64 { return p.tried }},
		{"over-switch-ms", func(p parts) float64 { return p.turn }},
		{"over-answer-ms", func(p parts) float64 { return p.answer }},
	} {
		b.ReportMetric(sample.MedianOf(all, m.of), m.unit)
	}
}
