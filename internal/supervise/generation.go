package supervise

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// The ladder at the end of a generation: asked to leave, and after its drain
// budget and this much for its cleanups asked again, which forces it; then
// killed. One that has never served has little to clean up.
const (
	cleanupPatience  = 15 * time.Second
	unservedPatience = 2 * time.Second
)

// generation is one process of the service. It is a handover.Generation; its
// facts arrive from the hub and from the process, its role is the service's to
// say.
type generation struct {
	number   int
	recipe   recipe
	uid      int // of its processes
	started  time.Time
	process  process
	reaped   func()        // due when it has ended
	budget   time.Duration // for its drain
	journal  *os.File      // what it has in flight while it is not proven; may be nil
	output   *output
	probed   atomic.Value // string: the client's address of the last probe
	probing  probing
	watchdog *watchdog // nil when it has none

	ready     chan struct{}
	linked    chan struct{} // closed when it has greeted
	readyOnce sync.Once
	ending    sync.Once
	retired   chan struct{} // closed when it has ended and how is
	gone      chan struct{} // closed when the service does not show it any more
	drain     client.Drain  // how it left; written before retired is closed
	unmoved   string        // why its connections did not move; likewise
	back      *generation   // takes its connections over if it is given up; nil when nobody served before
	hurry     chan struct{} // closed when waiting for it is over
	hurryOnce sync.Once

	mu      sync.Mutex
	link    link   // nil when it does not speak the control wire
	pid     int    // at the other end of link
	phase   string // that it was in when it greeted last
	role    client.Role
	status  string
	sockets []string      // that it serves
	account *client.Drain // what it said of its leaving
	served  time.Time     // since when it accepts; zero if it never did
}

var _ handover.Generation = (*generation)(nil)

// newGeneration is one whose process is not there yet.
func newGeneration(number int, r recipe, uid int, started time.Time) *generation {
	return &generation{
		number: number, recipe: r, uid: uid, started: started, budget: r.Config.DrainTimeout,
		role: client.RoleStarting, reaped: func() {}, watchdog: newWatchdog(r.Config.Watchdog),
		ready: make(chan struct{}), linked: make(chan struct{}), retired: make(chan struct{}), gone: make(chan struct{}), hurry: make(chan struct{}),
	}
}

func (g *generation) Ready() <-chan struct{} { return g.ready }
func (g *generation) Done() <-chan struct{}  { return g.process.Done() }
func (g *generation) Err() error             { return g.watchdog.explain(g.process.Err()) }

func (g *generation) Steerable() bool { return g.wire() != nil }

func (g *generation) wire() link {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.link
}

func (g *generation) Call(ctx context.Context, v handover.Verb) error {
	return g.call(ctx, v, nil)
}

func (g *generation) call(ctx context.Context, v handover.Verb, f handover.Fields, files ...*os.File) error {
	l := g.wire()
	if l == nil {
		return errors.New("the generation does not speak the control wire; build it with package segue")
	}
	_, err := l.Call(ctx, v, f, files...)
	return err
}

// becomesReady notes that it has said so, over whichever wire.
func (g *generation) becomesReady() { g.readyOnce.Do(func() { close(g.ready) }) }

// attach makes l, which leads to process pid, its control link. phase is what it says that
// it is: "" if it says nothing.
func (g *generation) attach(l link, pid int, phase string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.link == nil {
		close(g.linked)
	}
	g.link, g.pid, g.phase = l, pid, phase
}

// accepts says whether it did when it greeted, or by its role if it did not say.
func (g *generation) accepts() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.phase != "" {
		return g.phase == "ready"
	}
	return g.role == client.RoleServing
}

// speaker is the process that speaks for it: its own, or a child's of a script.
func (g *generation) speaker() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pid
}

// accountFor keeps what the generation says of its own leaving (ACCOUNT). The
// JSON is that of segue's Report; what is not understood is left out.
func (g *generation) accountFor(data string) {
	var d client.Drain
	if json.Unmarshal([]byte(data), &d) != nil {
		return
	}
	d.Told = true
	g.mu.Lock()
	defer g.mu.Unlock()
	g.account = &d
}

// say keeps what it says of itself, and returns it as an event.
func (g *generation) say(status string) client.Event {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status = status
	return client.Event{Kind: client.EventGeneration, Generation: g.number, PID: g.process.PID, Role: g.role, Text: status}
}

// serves notes the sockets that it has found or opened.
func (g *generation) serves(sockets []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sockets = sockets
}

func (g *generation) wants(socket string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.sockets, socket)
}

// become sets the role.
func (g *generation) become(r client.Role) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.role = r
	if r == client.RoleServing && g.served.IsZero() {
		g.served = time.Now()
	}
}

// servedFor is for how long it has accepted.
func (g *generation) servedFor() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.served.IsZero() {
		return 0
	}
	return time.Since(g.served)
}

func (g *generation) neverServed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.served.IsZero()
}

func (g *generation) info() client.Generation {
	g.mu.Lock()
	defer g.mu.Unlock()
	return client.Generation{
		Number: g.number, PID: g.process.PID, Role: g.role, Binary: g.recipe.Program,
		Started: g.started, Status: g.status, Managed: g.link != nil,
	}
}

// End begins to end a generation whose restart was rolled back. Connections that
// it has accepted go back to the one that serves.
func (g *generation) End(graceful bool) {
	if graceful {
		g.makeWay(g.budget, func() passage { return g.opened(context.Background(), g.back) })
		return
	}
	g.leave(handover.Stop, 0)
}

// makeWay is leave for a generation whose live connections go on in another one.
func (g *generation) makeWay(budget time.Duration, by func() passage) {
	g.ending.Do(func() { go g.climb(handover.Drain, budget, by) })
}

// leave begins the ladder, once; retired is closed at its end.
func (g *generation) leave(v handover.Verb, budget time.Duration) {
	g.ending.Do(func() { go g.climb(v, budget, func() passage { return passage{} }) })
}

// force shortens whatever the ladder waits for.
func (g *generation) force() { g.hurryOnce.Do(func() { close(g.hurry) }) }

func (g *generation) climb(v handover.Verb, budget time.Duration, by func() passage) {
	g.watchdog.end()
	began := time.Now()
	p := by()
	g.unmoved = p.unmoved
	fields := p.fields()
	fields["BUDGET"] = budget.String()
	ctx, cancel := context.WithTimeout(context.Background(), handover.CallTimeout)
	err := g.call(ctx, v, fields, p.files()...)
	cancel()
	p.close()
	signal := cmp.Or(g.recipe.Config.StopSignal, syscall.SIGTERM)
	if err != nil {
		g.process.Signal(signal)
	}
	killed := false
	patience := budget + cleanupPatience
	if g.neverServed() {
		patience = unservedPatience
	}
	if !g.ends(patience, g.hurry) {
		g.process.Signal(signal)
		if !g.ends(cmp.Or(g.recipe.Config.KillAfter, DefaultKillAfter), nil) {
			killed = true
			g.process.Signal(os.Kill)
			<-g.Done()
		}
	}
	// Children that outlived it would hold its sockets and log.
	g.process.Signal(os.Kill)
	g.mu.Lock()
	if g.account != nil {
		g.drain = *g.account
	}
	g.mu.Unlock()
	g.drain.Took, g.drain.Exit, g.drain.Killed = time.Since(began), g.Err().Error(), killed
	close(g.retired)
}

func (g *generation) ends(within time.Duration, hurry <-chan struct{}) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-g.Done():
		return true
	case <-late.C:
		return false
	case <-hurry:
		return false
	}
}
