package segue

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handover"
)

// arrivals are the ways by which live connections come from other processes of
// the service: from the predecessor, or from a successor that was given up. Each
// has a goroutine that ends with the other process, or with this one.
type arrivals struct {
	mu      sync.Mutex
	ways    []*handover.Arrival
	running sync.WaitGroup
}

// adopt begins to take over live connections of process from, which come by f.
// It owns f.
func (m *machine) adopt(f *os.File, from int) error {
	owned := false
	err := m.do(func() error {
		if m.phase != Paused && m.phase != Ready {
			return fmt.Errorf("cannot adopt connections while the service is %v", m.phase)
		}
		owned = true
		way, err := handover.NewArrival(f, from)
		if err != nil {
			return err
		}
		m.arrivals.mu.Lock()
		defer m.arrivals.mu.Unlock()
		m.arrivals.ways = append(m.arrivals.ways, way)
		m.arrivals.running.Go(func() { m.receive(way) })
		return nil
	})
	if !owned {
		f.Close()
	}
	return err
}

// end stops them all, when the service has ended and no more can begin.
func (a *arrivals) end() {
	a.mu.Lock()
	for _, way := range a.ways {
		way.Close()
	}
	a.mu.Unlock()
	a.running.Wait()
}

// receive takes connections until the other process has ended.
func (m *machine) receive(way *handover.Arrival) {
	var arrived atomic.Int64
	over := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		m.tellMoves(&arrived, over, func(n int) ConnectionsMoved { return ConnectionsMoved{Arrived: n} })
	})
	err := way.Run(func(server string, answer func(uint64, []string) error) (handover.Passengers, error) {
		return m.passengers(server, &arrived, answer)
	})
	close(over)
	telling.Wait()
	if err != nil {
		m.out.emit(Problem{fmt.Errorf("connections do not come over any more: %w", err)})
	}
	m.arrivals.mu.Lock()
	defer m.arrivals.mu.Unlock()
	m.arrivals.ways = slices.DeleteFunc(m.arrivals.ways, func(w *handover.Arrival) bool { return w == way })
	way.Close()
}

// tellMoves says about once a second how many have moved, if more have.
func (m *machine) tellMoves(moved *atomic.Int64, over <-chan struct{}, event func(n int) ConnectionsMoved) {
	tick := time.NewTicker(waitTick)
	defer tick.Stop()
	told := int64(0)
	for ended := false; !ended; {
		select {
		case <-over:
			ended = true
		case <-tick.C:
		}
		if n := moved.Load(); n > told {
			told = n
			e := event(int(n))
			m.out.emit(e)
			m.say("STATUS=" + m.app.Phase().String() + ": " + e.String())
			m.outdated.Store(true)
		}
	}
}

// passengers are the connections that come for one server, by one way. Those that
// come when the service leaves are refused: the other process keeps them.
type passengers struct {
	handover.Passengers // the server's
	m                   *machine
	answer              func(batch uint64, refusals []string) error
	refused             map[uint64]bool // batches that the server was not given
}

// passengers finds the server of that name.
func (m *machine) passengers(name string, arrived *atomic.Int64, answer func(uint64, []string) error) (handover.Passengers, error) {
	for _, s := range m.app.servers {
		switch {
		case s.name != name && !s.any:
		case s.http == nil:
			return nil, fmt.Errorf("its server %q is not an http.Server", name)
		default:
			in := s.http.Arrive(func(batch uint64, refusals []string) error {
				err := answer(batch, refusals)
				if err == nil {
					arrived.Add(int64(taken(refusals)))
				}
				return err
			})
			return &passengers{in, m, answer, map[uint64]bool{}}, nil
		}
	}
	return nil, fmt.Errorf("it has no server %q", name)
}

// Take refuses the batch once the service leaves.
func (p *passengers) Take(batch uint64, whole bool, parcels [][]byte, files []int) {
	if p.m.app.Phase() < Draining {
		p.Passengers.Take(batch, whole, parcels, files)
		return
	}
	p.refused[batch] = true
	for _, fd := range files {
		os.NewFile(uintptr(fd), "refused").Close()
	}
	p.answer(batch, slices.Repeat([]string{"it leaves"}, len(parcels))) // that it fails is the end of the way
}

func (p *passengers) Go(batch uint64, late [][]byte) {
	if !p.refused[batch] {
		p.Passengers.Go(batch, late)
	}
}

func (p *passengers) Late(batch uint64, i int, data []byte, end bool) {
	if !p.refused[batch] {
		p.Passengers.Late(batch, i, data, end)
	}
}
