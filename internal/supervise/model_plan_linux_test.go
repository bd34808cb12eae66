package supervise

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segue-go/segue/handover"
	"pgregory.net/rapid"
)

// plan is one run of the model: a service, what each generation of it is like, and
// what is done to them. It is all drawn beforehand: the run itself draws nothing.
type plan struct {
	config  Config
	cast    []character // of the processes, in the order in which they are started, and again
	actions []action
}

// character is what one process does.
type character struct {
	unstartable bool
	mute        bool          // speaks sd_notify(3) only
	greets      time.Duration // after its start
	ready       time.Duration // after that; negative never
	twice       bool          // says everything twice
	reactions   map[handover.Verb]reaction
	lives       time.Duration // and dies then by itself; 0 as long as it is let
	exit        int           // its exit code
	drains      time.Duration
	deaf        bool          // to stop signals
	reaped      time.Duration // after its end
}

// reaction is what it does when it is asked for a verb; of several calls the from-th
// to the to-th are meant, and the others it obeys.
type reaction struct {
	kind     manner
	late     time.Duration
	from, to int
	soon     int // others may run so many times before it dies
}

type manner int

const (
	obeys manner = iota
	refuses
	hangs      // no answer, no effect
	diesBefore // without effect or answer
	diesAfter  // with both
)

func (m manner) String() string {
	return [...]string{"obeys", "refuses", "hangs", "dies before", "dies after"}[m]
}

// action is something that is done to the service, or happens to it.
type action struct {
	kind deed
	who  int           // of the generations that live, from the newest
	arg  int           // exit code, program or setting
	then time.Duration // passes; 0 until nothing moves, negative none at all
}

type deed int

const (
	waits deed = iota
	restarts
	restartsOther // with another program
	installs      // puts another version in the place of the program
	rollsBack
	changesAlike
	changes
	changesSockets
	reloads
	asksUpgrade // by SIGUSR2
	crashes
	speaksAgain // says READY once more
	stops
	forces
	ends // the context of Run
)

var deedNames = [...]string{"wait", "restart", "restart with another program", "install", "roll back", "change alike", "change",
	"change sockets", "reload", "SIGUSR2", "crash", "speak again", "stop", "force", "end"}

func (a action) String() string {
	s := deedNames[a.kind]
	switch a.kind {
	case crashes, asksUpgrade, speaksAgain:
		s += fmt.Sprintf(" the newest but %d", a.who)
	}
	switch a.kind {
	case crashes, restartsOther, changesAlike, changes, changesSockets:
		s += fmt.Sprintf(" (%d)", a.arg)
	}
	switch {
	case a.then < 0:
		return s + " at once"
	case a.then == 0:
		return s
	}
	return fmt.Sprintf("%s, %v pass", s, a.then)
}

func (c character) String() string {
	var s []string
	say := func(is bool, format string, args ...any) {
		if is {
			s = append(s, fmt.Sprintf(format, args...))
		}
	}
	say(c.unstartable, "cannot be started")
	say(c.mute, "mute")
	say(c.greets > 0, "greets after %v", c.greets)
	say(c.ready > 0, "ready after %v", c.ready)
	say(c.ready < 0, "never ready")
	say(c.twice, "says all twice")
	say(c.lives > 0, "lives %v", c.lives)
	say(c.exit != 0, "exits %d", c.exit)
	say(c.drains > 0, "drains %v", c.drains)
	say(c.deaf, "deaf")
	say(c.reaped > 0, "reaped after %v", c.reaped)
	for v, r := range c.reactions {
		s = append(s, fmt.Sprintf("%v %s after %v (%d to %d)", r.kind, v, r.late, r.from, r.to))
	}
	slices.Sort(s)
	return "{" + strings.Join(s, ", ") + "}"
}

// GoString is what a failure shows.
func (p plan) GoString() string {
	c := p.config
	var b strings.Builder
	fmt.Fprintf(&b, "\nspeaks %q, ready %v, trial %v, probation %v, drain %v, restart %q, limit %d\n",
		c.Speaks, c.ReadyTimeout, c.Trial, c.Probation, c.DrainTimeout, c.Restart, c.Backoff.Limit)
	for i, c := range p.cast {
		fmt.Fprintf(&b, "  generation %d: %v\n", i+1, c)
	}
	for _, a := range p.actions {
		fmt.Fprintf(&b, "  %v\n", a)
	}
	return b.String()
}

var plans = rapid.Custom(func(t *rapid.T) plan {
	p := plan{config: Config{
		Name: "model", Env: []string{"SETTING=0"},
		Speaks:       often(SpeaksSegue, 8, SpeaksSystemd, SpeaksNothing).Draw(t, "speaks"),
		ReadyTimeout: 8 * time.Second,
		Trial:        often(time.Second, 3, 0).Draw(t, "trial"),
		Probation:    often(2*time.Second, 3, 0).Draw(t, "probation"),
		DrainTimeout: often(5*time.Second, 3, 0).Draw(t, "drain"),
		Restart:      often(OnFailure, 3, Always, Never).Draw(t, "policy"),
		Expected:     []int{3},
		Backoff:      Backoff{Limit: often(3, 1, 2, -1).Draw(t, "limit"), Max: 40 * time.Second},
	}}
	p.cast = rapid.SliceOfN(characters, 1, 6).Draw(t, "cast")
	p.actions = rapid.SliceOfN(actions, 1, 16).Draw(t, "actions")
	if often(true, 1, false).Draw(t, "a restart with something wrong on both sides") {
		old, next := character{reactions: map[handover.Verb]reaction{}}, character{reactions: map[handover.Verb]reaction{}}
		old.misbehaves(t, handover.Pause, handover.Resume, handover.Resume, handover.Move)
		next.misbehaves(t, handover.Open, handover.Check, handover.Adopt, handover.Proven)
		p.cast = append([]character{old, next}, p.cast...)
		p.actions = append([]action{{kind: waits, then: time.Second}, {kind: restarts, then: 4 * time.Second}}, p.actions...)
	}
	return p
})

// often is one of several values, of which the first is n times as likely as another.
func often[T any](first T, n int, others ...T) *rapid.Generator[T] {
	return rapid.SampledFrom(append(slices.Repeat([]T{first}, n), others...))
}

var actions = rapid.Custom(func(t *rapid.T) action {
	return action{
		kind: rapid.SampledFrom([]deed{
			waits, restarts, restarts, restarts, restarts, restartsOther, restartsOther, installs, rollsBack, rollsBack,
			changesAlike, changes, changes, changesSockets, reloads, asksUpgrade, crashes, crashes, crashes, crashes, speaksAgain,
			waits, waits, restarts, stops, forces, ends,
		}).Draw(t, "kind"),
		who: often(0, 3, 1, 2).Draw(t, "who"),
		arg: often(0, 2, 1, 2, 3).Draw(t, "arg"),
		then: rapid.SampledFrom([]time.Duration{0, -1, time.Millisecond, 60 * time.Millisecond, 250 * time.Millisecond, 700 * time.Millisecond,
			1100 * time.Millisecond, 2 * time.Second, 4 * time.Second, 4 * time.Second, 7 * time.Second, 15 * time.Second, time.Minute}).Draw(t, "then"),
	}
})

var characters = rapid.Custom(func(t *rapid.T) character {
	c := character{reactions: map[handover.Verb]reaction{}}
	c.drains = often(0, 3, 300*time.Millisecond, 3*time.Second, time.Minute).Draw(t, "drains")
	if often(true, 2, false).Draw(t, "well") {
		return c
	}
	c.unstartable = often(false, 12, true).Draw(t, "unstartable")
	c.mute = often(false, 6, true).Draw(t, "mute")
	c.greets = often(0, 5, 20*time.Millisecond, 2*time.Second).Draw(t, "greets")
	c.ready = often(0, 6, 20*time.Millisecond, 2*time.Second, 8*time.Second, -1).Draw(t, "ready")
	c.twice = often(false, 3, true).Draw(t, "twice")
	c.lives = often(0, 6, time.Millisecond, 150*time.Millisecond, 1500*time.Millisecond, 3*time.Second, 20*time.Second).Draw(t, "lives")
	c.exit = often(0, 4, 3, 7).Draw(t, "exit")
	c.deaf = often(false, 4, true).Draw(t, "deaf")
	c.reaped = often(0, 3, 10*time.Millisecond).Draw(t, "reaped")
	verbs := []handover.Verb{handover.Trial, handover.Check, handover.Open, handover.Pause, handover.Resume, handover.Adopt, handover.Move,
		handover.Proven, handover.Drain, handover.Stop, handover.Reload, // and where it matters most:
		handover.Move, handover.Move, handover.Proven, handover.Proven, handover.Resume, handover.Check}
	for range rapid.IntRange(0, 3).Draw(t, "peculiarities") {
		c.misbehaves(t, verbs...)
	}
	return c
})

// misbehaves gives it a reaction to one of the verbs.
func (c character) misbehaves(t *rapid.T, verbs ...handover.Verb) {
	r := reaction{
		kind: often(diesAfter, 3, obeys, refuses, refuses, hangs, diesBefore).Draw(t, "manner"),
		late: often(0, 2, 20*time.Millisecond, 400*time.Millisecond, 2*time.Second, 6*time.Second).Draw(t, "late"),
		from: often(1, 3, 2, 5, 13).Draw(t, "from"),
	}
	r.soon = often(0, 2, 1, 3, 10, 30, 100).Draw(t, "soon")
	r.to = r.from + often(1000, 1, 0, 1).Draw(t, "times")
	c.reactions[rapid.SampledFrom(verbs).Draw(t, "verb")] = r
}
