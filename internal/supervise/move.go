package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// carriedBy joins g, which is to leave, with the generation that takes its live
// connections over, and returns what DRAIN says and carries. A generation that
// cannot adopt, or none, is no reason not to leave: g is drained then.
func (g *generation) carriedBy(to *generation, budget time.Duration) (handover.Fields, []*os.File) {
	f := handover.Fields{"BUDGET": budget.String()}
	if to == nil || to.Err() != nil || !to.Steerable() || !g.Steerable() {
		return f, nil
	}
	here, there, err := handover.MovePair()
	if err == nil {
		f["TO"] = strconv.Itoa(to.speaker())
		ctx, cancel := context.WithTimeout(context.Background(), handover.CallTimeout)
		defer cancel()
		err = to.call(ctx, handover.Adopt, handover.Fields{"FROM": strconv.Itoa(g.speaker())}, there)
		there.Close()
		if err == nil {
			return f, []*os.File{here}
		}
		here.Close()
		delete(f, "TO")
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		g.unmoved = fmt.Sprintf("no connection was moved to generation %d: %v", to.number, err)
	}
	return f, nil
}

// moved is the step in which its connections moved; none if there were none, or
// if they were not to.
func (g *generation) moved() []client.Step {
	note := cmp.Or(g.unmoved, g.drain.MoveFailure)
	if g.drain.MoveTook == 0 && note == "" {
		return nil
	}
	return []client.Step{{Name: string(handover.StepMove), Began: time.Now().Add(-g.drain.Took), Took: g.drain.MoveTook, Note: note}}
}

// left is how g left, as steps: its connections moved, and it drained.
func (g *generation) left() []client.Step {
	d := g.drain
	return append(g.moved(), client.Step{
		Name: string(handover.StepDrain), Began: time.Now().Add(d.MoveTook - d.Took), Took: max(0, d.Took-d.MoveTook),
	})
}
