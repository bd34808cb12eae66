package supervise

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// memory is what the next supervisor must know of a service that goes on without
// this one: because this one was killed, or another program was executed in its
// place. It is a file of the service's directory, which is there while the service
// lives, and when somebody has stopped it, or it has failed.
type memory struct {
	Boot       string         `json:"boot"`    // of the machine: process ids and their clocks mean nothing in another one
	Planned    Config         `json:"planned"` // the configuration as the plan has it
	Number     int            `json:"number"`  // of the newest generation
	Restarts   int            `json:"restarts"`
	RolledBack int            `json:"rolled_back"`
	Crashes    int            `json:"crashes"`
	Recipe     recipe         `json:"recipe"`
	Previous   *recipe        `json:"previous,omitempty"`
	Report     *client.Report `json:"report,omitempty"`

	Generations []relic        `json:"generations"`
	Sockets     []heldSocket   `json:"sockets"`
	Ended       *client.Status `json:"ended,omitempty"` // it does not live
	ByHand      bool           `json:"by_hand,omitempty"`
}

// relic is a generation that lives.
type relic struct {
	Number  int         `json:"number"`
	PID     int         `json:"pid"`
	Clock   uint64      `json:"clock"` // when it was started, by the kernel's clock; see handover.Process.Started
	Started time.Time   `json:"started"`
	Served  time.Time   `json:"served"`
	Since   int64       `json:"since,omitempty"` // the same by uptime, in nanoseconds
	Role    client.Role `json:"role"`
	UID     int         `json:"uid"`
	Managed bool        `json:"managed"`
	Sockets []string    `json:"sockets"` // that it serves
	Recipe  recipe      `json:"recipe"`
}

// heldSocket is a listening socket of the service.
type heldSocket struct {
	Name   string `json:"name"`
	Addr   string `json:"addr"`
	Listen Listen `json:"listen"`
	By     int    `json:"by,omitempty"` // the generation that opened it; 0 for the supervisor
}

func memoryFile(dir string) string { return filepath.Join(dir, "state.json") }

// spareFile takes turns with it: each is whole until the other one is.
func spareFile(dir string) string { return filepath.Join(dir, "state.json.new") }

// recall reads what an earlier supervisor has left in dir; nil when it has left
// nothing, or nothing that can be read.
func recall(dir string) (*memory, error) {
	data, err := os.ReadFile(memoryFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var m memory
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read what the supervisor before this one has left: %w", err)
	}
	if m.Boot != boot() {
		m.Generations = nil
	}
	return &m, nil
}

// keep writes m down. The environment of the service is in it: it is for this user
// only.
func (m memory) keep(dir string) error {
	m.Boot = boot()
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("cannot write down the state of the service: %w", err)
	}
	if err := overwrite(spareFile(dir), data); err != nil {
		return fmt.Errorf("cannot write down the state of the service: %w", err)
	}
	if err := swap(spareFile(dir), memoryFile(dir)); err != nil {
		return fmt.Errorf("cannot write down the state of the service: %w", err)
	}
	return nil
}

// overwrite makes data the content of a file, in the room that it has on the disk
// already, and so also when there is no other: it never gets shorter, what follows
// data is space.
func overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		rest := max(0, int(info.Size())-len(data))
		_, err = f.WriteAt(append(data, bytes.Repeat([]byte{' '}, rest)...), 0)
	}
	return errors.Join(err, f.Close())
}

// boot tells one run of the machine from another (random(4)); "" where it cannot.
func boot() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(id)
}

// forget is for a service that has ended in order.
func forget(dir string) {
	os.Remove(memoryFile(dir))
	os.Remove(spareFile(dir))
}

// survivors are the generations of m that live, as they are.
func (m *memory) survivors() (all []*generation, err error) {
	if m == nil {
		return nil, nil
	}
	for _, r := range m.Generations {
		process, err := handover.Watch(r.PID, r.Clock, true)
		switch {
		case err == nil:
			all = append(all, r.generation(process))
		case !errors.Is(err, handover.ErrProcessGone):
			return nil, err
		}
	}
	return all, nil
}

// equal says whether two configurations are written down alike.
func equal(a, b Config) bool {
	x, _ := json.Marshal(a)
	y, err := json.Marshal(b)
	return err == nil && string(x) == string(y)
}

// survives says whether a generation has outlived the supervisor that left dir.
func survives(dir string) bool {
	old, err := recall(dir)
	return err == nil && old.alive()
}

// alive says whether m has any.
func (m *memory) alive() bool {
	return m != nil && slices.ContainsFunc(m.Generations, func(r relic) bool {
		clock, err := handover.StartTime(r.PID)
		return err == nil && clock == r.Clock
	})
}

func (r relic) generation(p *handover.Process) *generation {
	g := newGeneration(r.Number, r.Recipe, r.UID, r.Started)
	g.process, g.role, g.served, g.sockets = processOf(p), r.Role, r.Served, r.Sockets
	if up := uptime(); r.Since > 0 && up > 0 {
		g.served = time.Now().Add(min(0, time.Duration(r.Since)-up)) // the clock may have been set
	}
	g.output = &output{} // its own are all there are
	if r.Role != client.RoleStarting {
		g.becomesReady()
	}
	return g
}

// remember writes down what the next supervisor must know. It is the loop's.
func (s *Service) remember() {
	m := memory{
		Planned: s.planned, Number: s.number, Recipe: s.recipe, Previous: s.previous,
		Restarts: s.view.restarts, RolledBack: s.view.rolledBack, Crashes: s.view.crashed, Report: s.view.last,
		Sockets: s.common.sockets.held(), Generations: []relic{},
	}
	for _, g := range s.view.alive {
		m.Generations = append(m.Generations, g.relic())
	}
	err := m.keep(s.dir)
	if err != nil && !s.forgetful {
		s.bus.publish(client.Event{Kind: client.EventProblem, Text: scarce(err).Error()})
	}
	s.forgetful = err != nil
}

func (g *generation) relic() relic {
	g.mu.Lock()
	defer g.mu.Unlock()
	var since int64
	if up := uptime(); !g.served.IsZero() && up > 0 {
		since = int64(up - time.Since(g.served))
	}
	return relic{
		Since:  since,
		Number: g.number, PID: g.process.PID, Clock: g.process.Started(), Started: g.started, Served: g.served,
		Role: g.role, UID: g.uid, Managed: g.link != nil, Sockets: g.sockets, Recipe: g.recipe,
	}
}
