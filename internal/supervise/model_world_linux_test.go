package supervise

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/launch"
)

// world is a service whose processes are actors. It sees what is asked of them, when
// it is asked, and holds it against the rules.
type world struct {
	plan  plan
	s     *Service
	began time.Time

	mu       sync.Mutex
	actors   []*actor // in the order in which they were started
	started  int      // or could not be
	ending   bool     // somebody has told the service to end
	since    time.Time
	asks     []*ask
	story    []string
	failures []string
}

// ask is a call of somebody who waits for an answer.
type ask struct {
	what     string
	answered bool
}

func (w *world) log(a *actor, format string, args ...any) {
	who := ""
	if a != nil {
		who = a.String() + " "
	}
	w.story = append(w.story, fmt.Sprintf("%10v %s", time.Since(w.began), who+fmt.Sprintf(format, args...)))
}

// broken notes that a rule was. The caller holds mu.
func (w *world) broken(format string, args ...any) {
	w.log(nil, "BROKEN: "+format, args...)
	if len(w.failures) < 3 {
		w.failures = append(w.failures, fmt.Sprintf("after %v: ", time.Since(w.began))+fmt.Sprintf(format, args...))
	}
}

func (w *world) check(ok bool, format string, args ...any) {
	if !ok {
		w.broken(format, args...)
	}
}

// start takes the place of launched.
func (w *world) start(_ launch.Spec, c handover.Command) (process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	character := w.plan.cast[w.started%len(w.plan.cast)]
	w.started++
	w.check(!w.over(), "process %d is started, and the service was told to end", w.started)
	if character.unstartable {
		w.log(nil, "process %d cannot be started", w.started)
		return process{}, fmt.Errorf("cannot start %s: it is no good", c.Path)
	}
	a := &actor{
		character: character, w: w, number: w.started, pid: 1<<30 + w.started, began: time.Now(), config: w.plan.config,
		lost: make(chan struct{}), done: make(chan struct{}), calls: map[handover.Verb]int{},
	}
	for _, s := range c.Sockets {
		if _, err := s.File.Stat(); err != nil {
			w.broken("%v gets socket %q, which is closed: %v", a, s.Name, err)
		}
	}
	if w.plan.config.Speaks != SpeaksNothing {
		w.check(len(c.Sockets) > 0, "%v gets no socket", a)
	}
	a.accepts = a.config.Speaks == SpeaksNothing
	w.actors = append(w.actors, a)
	w.log(a, "is started: %s", c.Path)
	go a.live()
	return process{a.pid, a}, nil
}

// over says whether the service was told to end, and not in this very moment.
func (w *world) over() bool { return w.ending && time.Since(w.since) > 0 }

// incumbent is who serves while a comes up.
func (w *world) incumbent(a *actor) *actor {
	for _, o := range w.actors {
		if o.number < a.number && o.accepts && o.steerable && len(o.told) == 0 && o.excuse == "" {
			return o
		}
	}
	return nil
}

// diedSince says whether anybody has, in which case a trial or probation may be short.
func (w *world) diedSince(t time.Time) bool {
	return slices.ContainsFunc(w.actors, func(o *actor) bool { return o.dead && !o.died.Before(t) })
}

// asked holds a verb against the rules.
func (w *world) asked(a *actor, v handover.Verb, f handover.Fields) {
	c := a.config
	switch v {
	case handover.Trial, handover.Open, handover.Pause, handover.Move, handover.Proven:
		w.check(!w.over(), "%v is asked for %s, and the service was told to end", a, v)
	}
	switch v {
	case handover.Trial:
		w.check(a.saidReady, "%v was tried before it was ready", a)
	case handover.Open:
		if a.incumbent = w.incumbent(a); a.incumbent != nil {
			w.check(!a.tried.IsZero() && (time.Since(a.tried) >= c.Trial || w.diedSince(a.tried)), "%v was opened before its trial was over", a)
		}
	case handover.Pause:
		w.check(slices.ContainsFunc(w.actors, func(o *actor) bool { return o.number > a.number && !o.opened.IsZero() }),
			"%v was paused, and no successor was opened", a)
	case handover.Resume: // perhaps PAUSE did not get there
		w.check(slices.ContainsFunc(w.actors, func(o *actor) bool { return o.number > a.number && o.calls[handover.Open] > 0 }),
			"%v was resumed, and no successor was opened", a)
	case handover.Proven:
		w.check(!a.opened.IsZero(), "%v is proven, and was never opened", a)
		if o := a.incumbent; o != nil && !o.dead {
			w.check(time.Since(a.opened) >= c.Probation || w.diedSince(a.opened), "%v is proven before its probation was over", a)
		}
	case handover.Drain, handover.Stop:
		for _, before := range a.told {
			w.check(before != string(handover.Drain) && before != string(handover.Stop), "%v is told to %s, and was told to %s before", a, v, before)
		}
		w.toldToLeave(a, string(v))
		if to, err := strconv.Atoi(f["TO"]); err == nil {
			for _, o := range w.actors {
				if o.pid == to {
					a.heir = o
					w.check(o != a && o.heir != a, "%v and %v drain to each other", a, o)
				}
			}
		}
	}
}

// toldToLeave holds it against the rule of all rules: who serves is not told to leave
// before another one is proven.
func (w *world) toldToLeave(a *actor, how string) {
	a.told = append(a.told, how)
	if len(a.told) > 1 || w.ending || a.excuse != "" || a.config.Speaks == SpeaksNothing {
		return
	}
	if a.late || !a.saidReady && time.Since(a.began) >= a.config.ReadyTimeout {
		return
	}
	for _, o := range w.actors {
		if o.number > a.number && (o.calls[handover.Proven] > 0 || o.saidReady && !o.steerable) {
			return
		}
	}
	w.check(w.state() == client.Failed, "%v is told to leave (%s), and nobody was proven to follow it", a, how)
}

func (w *world) state() client.State {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.view.state
}

// of is the actor of a generation; nil for none.
func (w *world) of(number int) *actor {
	for _, a := range w.actors {
		if a.g != nil && a.g.number == number {
			return a
		}
	}
	return nil
}

// living are those who live, from the newest.
func (w *world) living() (all []*actor) {
	for _, a := range slices.Backward(w.actors) {
		if !a.dead {
			all = append(all, a)
		}
	}
	return all
}

// still is what must be true whenever nothing moves.
func (w *world) still() {
	over := w.s.do(func() error { w.inLoop(); return nil }) != nil
	w.mu.Lock()
	defer w.mu.Unlock()
	moving := slices.ContainsFunc(w.actors, func(a *actor) bool { return a.inFlight > 0 || a.dead && a.Err() == nil })
	if moving {
		return
	}
	var accepting []*actor
	for _, a := range w.actors {
		if a.accepts && a.excuse == "" && a.steerable {
			accepting = append(accepting, a)
		}
	}
	w.check(len(accepting) < 2, "several accept: %v", accepting)
	if over {
		return
	}
	var shown, there []string
	for _, g := range w.s.Status().Generations {
		shown = append(shown, strconv.Itoa(g.PID))
	}
	for _, a := range w.actors {
		if !a.dead {
			there = append(there, strconv.Itoa(a.pid))
		}
	}
	w.check(slices.Equal(shown, there), "processes %v are shown, %v live", shown, there)
}

// inLoop is the part of still that looks at what is the loop's.
func (w *world) inLoop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, v := w.s, &w.s.view
	trying, pausing := s.try != nil, s.timer != nil
	switch v.state {
	case client.Starting, client.Restarting:
		w.check(trying && !pausing, "%s: attempt %v, pause %v", v.state, trying, pausing)
	case client.Serving:
		w.check(!trying && !pausing, "%s: attempt %v, pause %v", v.state, trying, pausing)
		w.serving(v.current)
		w.check(v.current == nil || s.recipe.Config.startsLike(v.current.recipe.Config), "what serves was started with %v, the next one would be with %v",
			v.current.recipe.Config.Env, s.recipe.Config.Env)
		w.check(s.recipe.Config.KillAfter == v.config.KillAfter, "the settings are %v, those of the next are %v", v.config.KillAfter, s.recipe.Config.KillAfter)
	case client.BackingOff:
		w.check(!trying && pausing, "%s: attempt %v, pause %v", v.state, trying, pausing)
	case client.Stopping:
		w.check(w.ending || s.stopping != nil, "%s, and nobody has told it to", v.state)
		w.check(!pausing && (trying || len(v.alive) > 0), "%s: nothing is left to wait for", v.state)
	case client.Failed:
		w.check(!trying && !pausing, "%s: attempt %v, pause %v", v.state, trying, pausing)
	}
	if v.state != client.Stopping && !slices.ContainsFunc(w.actors, func(a *actor) bool { return a.inFlight > 0 }) {
		for _, a := range w.living() {
			stays := a.g != nil && a.g == v.current && (v.state == client.Serving || v.state == client.Restarting) || trying && a == w.actors[len(w.actors)-1]
			w.check(stays || len(a.told) > 0, "%s: %v is of no use, and was not told to leave", v.state, a)
		}
	}
	roles := map[client.Role]int{}
	for _, g := range v.alive {
		roles[g.info().Role]++
	}
	w.check(roles[client.RoleServing] <= 1 || v.state == client.Restarting && roles[client.RoleServing] == 2, "%d generations serve", roles[client.RoleServing])
	w.check(roles[client.RolePaused] <= 1, "%d generations are paused", roles[client.RolePaused])
	w.check(trying || roles[client.RoleStarting]+roles[client.RoleTrial]+roles[client.RolePaused] == 0, "no restart is under way: %v", roles)
	if v.state == client.BackingOff || v.state == client.Failed {
		w.check(roles[client.RoleServing] == 0, "%s: a generation serves", v.state)
	}
	for _, l := range v.config.Listen {
		w.check(s.common.sockets.has(l.Name), "socket %q is not open", l.Name)
	}
}

// serving: who serves accepts.
func (w *world) serving(g *generation) {
	if g == nil {
		w.broken("nobody serves")
		return
	}
	a := w.of(g.number)
	switch {
	case a.dead:
		w.check(a.Err() == nil, "%v serves, and has ended", a)
	case a.inFlight > 0 || a.excuse != "":
	default:
		w.check(a.accepts, "%v serves, and does not accept", a)
		w.check(len(a.told) == 0, "%v serves, and was told to leave: %v", a, a.told)
	}
}

// atEnd is what must be true when Run has returned.
func (w *world) atEnd() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.actors {
		w.check(a.Err() != nil, "%v lives still", a)
	}
	for _, k := range w.asks {
		w.check(k.answered, "%s was never answered", k.what)
	}
	w.check(len(w.s.view.alive) == 0, "generations are left: %v", len(w.s.view.alive))
	w.check(len(w.s.hub.known) == 0, "the hub knows %d generations", len(w.s.hub.known))
	w.check(len(w.s.common.sockets.each()) == 0, "sockets are left: %v", w.s.common.sockets.each())
	offspring.mu.Lock()
	defer offspring.mu.Unlock()
	w.check(len(offspring.pids) == 0, "processes are waited for: %v", offspring.pids)
}

// descriptors are what this process has open.
func descriptors() []string {
	entries, _ := os.ReadDir("/proc/self/fd")
	var all []string
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			all = append(all, e.Name()+" "+to)
		}
	}
	return all
}

func (w *world) verdict() string {
	if len(w.failures) == 0 {
		return ""
	}
	return strings.Join(w.failures, "\n") + "\n\nwhat happened:\n" + strings.Join(w.story, "\n")
}
