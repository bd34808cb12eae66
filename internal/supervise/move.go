package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// passage is the way of live connections out of a generation that leaves.
type passage struct {
	to      *generation // nil when nobody takes them over
	way     *os.File    // for DRAIN to carry; nil when there is none, or MOVE has brought it
	unmoved string      // why there is none
}

// opened is a passage to a generation that listens at the other end. One that
// cannot adopt, or none, is no reason not to leave: connections are drained then.
func (g *generation) opened(ctx context.Context, to *generation) passage {
	if to == nil || to.Err() != nil || !to.Steerable() || !g.Steerable() {
		return passage{}
	}
	here, there, err := handover.MovePair()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, handover.CallTimeout)
		defer cancel()
		err = to.call(ctx, handover.Adopt, handover.Fields{"FROM": strconv.Itoa(g.speaker())}, there)
		there.Close()
		if err == nil {
			return passage{to: to, way: here}
		}
		here.Close()
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return passage{}
	}
	return passage{unmoved: fmt.Sprintf("no connection was moved to generation %d: %v", to.number, err)}
}

// fields are what DRAIN, or MOVE, says of the passage.
func (p passage) fields() handover.Fields {
	if p.way == nil {
		return handover.Fields{}
	}
	return handover.Fields{"TO": strconv.Itoa(p.to.speaker())}
}

// files is what goes with that.
func (p passage) files() []*os.File {
	if p.way == nil {
		return nil
	}
	return []*os.File{p.way}
}

func (p passage) close() {
	if p.way != nil {
		p.way.Close()
	}
}

// move is Move of handover.Restart: g, which is paused, moves what can go at once.
// It returns what is left of the passage for DRAIN: a generation that refuses MOVE
// may know the older form.
func (g *generation) move(ctx context.Context, to *generation) (p passage, note string) {
	p = g.opened(ctx, to)
	if p.way == nil {
		return p, p.unmoved
	}
	answer, err := g.wire().Call(ctx, handover.Move, p.fields(), p.files()...)
	if err != nil && ctx.Err() == nil && !errors.Is(err, handover.ErrLinkClosed) {
		return p, fmt.Sprintf("connections move while generation %d drains: %v", g.number, err)
	}
	p.close() // it has one of its own
	p.way = nil
	switch {
	case ctx.Err() != nil:
		return p, fmt.Sprintf("connections go on to move while generation %d drains: %v", g.number, context.Cause(ctx))
	case err != nil:
		return p, err.Error()
	}
	return p, answer["FAILURE"]
}

// movedBack is the step in which connections went back from a generation that was
// given up; none if there were none, or if they were not to.
func (g *generation) movedBack() []client.Step {
	note := cmp.Or(g.unmoved, g.drain.MoveFailure)
	if g.drain.MoveTook == 0 && note == "" {
		return nil
	}
	return []client.Step{{Name: string(handover.StepMove), Began: time.Now().Add(-g.drain.Took), Took: g.drain.MoveTook, Note: note}}
}

// left is the step in which g drained. Why connections did not move is noted
// unless moved, the note of the step before it, says so.
func (g *generation) left(moved string) client.Step {
	d := g.drain
	s := client.Step{Name: string(handover.StepDrain), Began: time.Now().Add(-d.Took), Took: d.Took}
	if note := cmp.Or(g.unmoved, d.MoveFailure); !strings.Contains(moved, note) {
		s.Note = note
	}
	return s
}
