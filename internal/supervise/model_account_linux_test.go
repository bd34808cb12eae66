package supervise

import (
	"fmt"
	"slices"
	"strings"

	"github.com/segue-go/segue/client"
)

// account is what an onlooker makes of the events: it must be what the service says of
// itself.
type account struct {
	w      *world
	events <-chan client.Event
	state  client.State
	exits  map[int]int

	kept, failed int // restarts that ended in service, or in nothing
	begun        int // starts that ended in service
	done, undone int // that were asked for, by their reports
	crashed      int
	row          int // of starts that failed
}

// onlooker begins before the service does.
func onlooker(w *world) *account {
	events, _ := w.s.Subscribe()
	return &account{w: w, events: events, state: client.Starting, exits: map[int]int{}}
}

// read takes in what has happened since.
func (a *account) read() {
	for {
		select {
		case e, open := <-a.events:
			if !open {
				return
			}
			a.take(e)
		default:
			a.w.mu.Lock()
			st := a.w.state()
			a.w.check(st == a.state, "the state is %s, and the last that was told of is %s", st, a.state)
			a.w.mu.Unlock()
			return
		}
	}
}

func (a *account) take(e client.Event) {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case client.EventDropped:
		w.broken("events were missed")
	case client.EventExit:
		a.exits[e.Generation]++
		w.check(a.exits[e.Generation] == 1, "generation %d has ended %d times", e.Generation, a.exits[e.Generation])
	case client.EventState:
		a.enters(e)
	case client.EventReport:
		a.reported(*e.Report)
	}
}

// enters follows the state: by the table, and for a reason.
func (a *account) enters(e client.Event) {
	w, from := a.w, a.state
	a.state = e.State
	w.log(nil, "%s -> %s %s", from, e.State, e.Text)
	possible := slices.ContainsFunc([]event{up, back, down, crashed, finished, due, restart, stop, giveUp, gone}, func(v event) bool {
		to, err := next(from, v)
		return err == nil && to == e.State
	})
	w.check(possible, "%s -> %s is not in the table", from, e.State)
	policy, limit := w.plan.config.Restart, w.plan.config.Backoff.Limit
	switch { // failures in a row
	case e.State == client.Serving:
		a.row = 0
	case from == client.Starting && e.State == client.BackingOff:
		a.row++
	case from == client.BackingOff && e.State == client.Starting:
		w.check(limit < 0 || a.row < limit, "it is started again after %d failures in a row", a.row)
		w.check(policy != Never, "it is started again, and never should be")
	case e.State == client.Failed:
		w.check(limit > 0 || policy == Never, "it is given up, and there is no limit")
	}
	switch {
	case from == client.Restarting && e.State == client.Serving:
		a.kept++
	case from == client.Restarting && e.State == client.BackingOff:
		a.failed++
	case from == client.Starting && e.State == client.Serving:
		a.begun++
	case from == client.Serving && (e.State == client.BackingOff || e.State == client.Stopping && e.Text != ""):
		failure, ok := a.failure(e.Text)
		if e.State == client.Stopping {
			w.check(policy != Always, "the service ended by itself, and is always to be started again")
			break
		}
		again := strings.HasSuffix(e.Text, "is always started again")
		w.check(ok && again == !failure && (failure || policy == Always), "%s -> %s: %s", from, e.State, e.Text)
		if failure {
			a.crashed++
		}
	}
}

// failure says whether the end of the generation that text is about was a failure.
func (a *account) failure(text string) (failure, ok bool) {
	var n int
	if _, err := fmt.Sscanf(text, "generation %d ", &n); err != nil {
		return false, false
	}
	g := a.w.of(n)
	return g == nil || g.code != 0 && g.code != 3, g != nil
}

// reported counts what was asked for.
func (a *account) reported(r client.Report) {
	if r.Action == "stop" {
		return
	}
	switch r.Outcome {
	case client.Done:
		a.done++
	case client.RolledBack:
		a.undone++
		o := a.w.of(r.From.Number)
		// It may have been paused once more meanwhile, for the next.
		a.w.check(o.dead || o.excuse != "" || o.paused <= o.resumed+1, "the restart was rolled back, and %v was paused %d times, resumed %d times", o, o.paused, o.resumed)
	}
}

// atRest compares it with what the service counts.
func (a *account) atRest() {
	w := a.w
	st := w.s.Status()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.asks {
		w.check(k.answered, "%s is not answered yet", k.what)
	}
	w.check(st.Crashes == a.crashed, "%d crashes are counted, %d were seen", st.Crashes, a.crashed)
	if w.ending || st.State == client.Stopped {
		return
	}
	w.check(st.Restarts == a.done, "%d restarts are counted, %d were reported", st.Restarts, a.done)
	// The old generation may have died when it had been resumed.
	w.check(st.RolledBack <= a.undone && a.undone <= st.RolledBack+a.failed, "%d are counted as rolled back, %d were reported", st.RolledBack, a.undone)
	// A restart in a pause is a start.
	w.check(a.kept <= st.Restarts+st.RolledBack && st.Restarts+st.RolledBack <= a.kept+a.begun, "%d and %d are counted, %d have ended in service", st.Restarts, st.RolledBack, a.kept)
	if st.State == client.Serving {
		w.check(len(st.Generations) == 1, "%d generations live when all have had the time to leave", len(st.Generations))
	}
}
