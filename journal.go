package segue

import (
	"errors"
	"fmt"
	"os"

	"github.com/segue-go/segue/handover"
)

// keepJournal has every server write down what it serves, if this process was
// given a journal: until it is proven, whoever started it wants to know what was
// in flight in it if it dies. One that cannot be kept is no reason not to serve.
func (m *machine) keepJournal() {
	if m.in.Journal == nil {
		return
	}
	j, err := handover.OpenJournal(m.in.Journal)
	m.in.Journal.Close()
	m.in.Journal = nil
	if err != nil {
		m.out.emit(Problem{fmt.Errorf("cannot write down what is in flight while this process is not proven: %w", err)})
		return
	}
	m.journal = j
	for _, s := range m.app.servers {
		s.record(j)
	}
}

// proven ends the journal: the process serves for good, or nobody is left who
// would read it. It is the loop's.
func (m *machine) proven() error {
	if m.phase == Starting {
		return errors.New("cannot be proven while the service is starting")
	}
	if m.journal == nil {
		return nil
	}
	for _, s := range m.app.servers {
		s.record(nil)
	}
	err := m.journal.Discard()
	m.journal = nil
	return err
}

// newJournal makes the journal of a successor; nil when it cannot be had.
func (m *machine) newJournal() *os.File {
	f, err := handover.NewJournal()
	if err != nil {
		m.out.emit(Problem{fmt.Errorf("what a successor has in flight cannot be named if it dies: %w", err)})
		return nil
	}
	return f
}

// lostWith reads the journal of a successor that was given up, if it is dead.
// One that still drains is read when it has ended, which is told by an event of
// its own, and only if there is something to tell.
func (m *machine) lostWith(s *successor, r *handover.Report) {
	if s == nil || s.journal == nil {
		return
	}
	read := func() (lost []handover.Lost, more int) {
		defer s.journal.Close()
		lost, more, err := handover.ReadJournal(s.journal)
		if err != nil {
			m.out.emit(Problem{err})
		}
		return lost, more
	}
	if s.Err() != nil {
		r.Lost, r.LostMore = read()
		return
	}
	go func() {
		<-s.Done() // s.End sees to it
		if lost, more := read(); len(lost)+more > 0 {
			m.out.emit(SuccessorLost{s.process.PID, lost, more})
		}
	}()
}
