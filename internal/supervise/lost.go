package supervise

import (
	"errors"
	"fmt"
	"os"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// newJournal makes the journal of a new generation. A generation is started
// without one if it cannot be had; its death would then go without names.
func (s *Service) newJournal(generation int) *os.File {
	f, err := handover.NewJournal()
	if err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			s.bus.publish(client.Event{Kind: client.EventProblem, Generation: generation,
				Text: fmt.Sprintf("what generation %d has in flight cannot be named if it dies: %v", generation, scarce(err))})
		}
		return nil
	}
	return f
}

// lostWith says what a generation that failed has lost: what its journal holds
// now that it has ended, and what it said of its own leaving.
func (s *Service) lostWith(g *generation) (lost []client.Cut, more int) {
	lost = append(lost, g.drain.Cut...)
	if g.journal == nil {
		return lost, 0
	}
	written, more, err := handover.ReadJournal(g.journal)
	if err != nil {
		s.bus.publish(client.Event{Kind: client.EventProblem, Generation: g.number, Text: err.Error()})
	}
	probe, _ := g.probed.Load().(string)
	for _, l := range written {
		if l.Remote != probe { // ours, and no client's
			lost = append(lost, client.Cut(l))
		}
	}
	return lost, more
}

// endJournal lets go of it: the generation is proven, or its loss is reported.
func (g *generation) endJournal() {
	if g != nil && g.journal != nil {
		g.journal.Close()
	}
}
