package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// hub hears what generations say, over either wire, and gives it to the one
// that said it. Strangers are refused. It owns a goroutine for each of its two
// sockets, and one for each link.
type hub struct {
	publish  func(client.Event)
	upgrade  func() // a generation asks to be replaced
	sockets  *sockets
	control  *handover.ControlListener
	notify   *handover.NotifyListener
	starting sync.Once
	running  sync.WaitGroup
	linked   sync.WaitGroup // a goroutine for each link, until it has ended

	settling atomic.Int32 // calls of settle

	// spawning is held while a child is started, until it is known: whoever asks
	// about a pid waits for that.
	spawning sync.Mutex

	mu    sync.Mutex
	past  []int               // process ids of the last generations that have ended
	known map[int]*generation // by number
	links map[*handover.Link]struct{}
}

// remembered is how many ended generations are known still: what one said last
// may be read after its end.
const remembered = 16

func openHub(dir string, left *estate, service string, sockets *sockets, publish func(client.Event), upgrade func()) (*hub, error) {
	control, err := listenOn(left.take(service+"/control"), controlSocket(dir), handover.ControlFrom, handover.ListenControl)
	if err != nil {
		return nil, err
	}
	notify, err := listenOn(left.take(service+"/notify"), notifySocket(dir), handover.NotifyFrom, handover.ListenNotify)
	if err != nil {
		control.Close()
		return nil, err
	}
	return &hub{
		sockets: sockets, publish: publish, upgrade: upgrade, control: control, notify: notify,
		known: map[int]*generation{}, links: map[*handover.Link]struct{}{},
	}, nil
}

// listenOn goes on with the socket that was left, or opens it.
func listenOn[T any](left *os.File, path string, from func(*os.File, string) (T, error), open func(string) (T, error)) (T, error) {
	if left != nil {
		return from(left, path)
	}
	return open(path)
}

// start begins to hear. A second call does nothing.
func (h *hub) start() {
	h.starting.Do(func() {
		h.running.Go(h.accept)
		h.running.Go(h.receive)
	})
}

func (h *hub) close() {
	h.control.Close()
	h.notify.Close()
	h.running.Wait()
	h.mu.Lock()
	links := h.links
	h.links = nil
	h.mu.Unlock()
	for l := range links {
		l.Close()
	}
	h.linked.Wait()
}

// add makes a generation known, remove forgets it.
func (h *hub) add(g *generation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known[g.number] = g
}

func (h *hub) remove(g *generation) {
	h.mu.Lock()
	delete(h.known, g.number)
	h.past = append(h.past[max(0, len(h.past)-remembered+1):], g.process.PID)
	h.mu.Unlock()
	if l := g.wire(); l != nil {
		l.Close()
	}
}

// find returns the generation that pid belongs to.
func (h *hub) find(pid int) *generation {
	h.spawning.Lock()
	defer h.spawning.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range h.known {
		if g.process.Owns(pid) {
			return g
		}
	}
	return nil
}

// ended says whether pid was a generation. The number may be another process's
// by now: nothing follows from what such a process says.
func (h *hub) ended(pid int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.past, pid)
}

// settle returns when everything that was notified before has been acted upon.
func (h *hub) settle() error {
	h.settling.Add(1)
	defer h.settling.Add(-1)
	ctx, cancel := context.WithTimeout(context.Background(), handover.CallTimeout)
	defer cancel()
	n := handover.NewNotifier(h.notify.Path())
	defer n.Close()
	return n.Barrier(ctx)
}

func (h *hub) problem(format string, args ...any) {
	h.publish(client.Event{Kind: client.EventProblem, Text: fmt.Sprintf(format, args...)})
}

func (h *hub) accept() {
	for {
		peer, err := h.control.Accept()
		switch {
		case errors.Is(err, handover.ErrMalformed):
			continue
		case err != nil:
			return
		}
		g := h.find(peer.PID)
		if g == nil || peer.UID != g.uid {
			h.problem("refused process %d of user %d at the control socket: it is not a generation of this service", peer.PID, peer.UID)
			peer.Close()
			continue
		}
		c := &caller{hub: h, g: g, pid: peer.PID}
		c.made.Add(1)
		l := handover.NewLink(peer, c.handle)
		c.link = l
		c.made.Done()
		h.mu.Lock()
		h.links[l] = struct{}{}
		h.mu.Unlock()
		h.linked.Go(func() { h.forget(l) })
	}
}

// forget lets go of a link when it has ended: a generation may dial anew as
// often as it likes.
func (h *hub) forget(l *handover.Link) {
	<-l.Done()
	l.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.links, l)
}

// caller is a generation at the other end of a link.
type caller struct {
	hub  *hub
	g    *generation
	pid  int
	made sync.WaitGroup
	link link // set when made is done
}

func (c *caller) handle(_ context.Context, r handover.Request) (handover.Fields, error) {
	defer r.Close()
	c.made.Wait()
	if r.Verb == handover.Hello {
		if n, err := strconv.Atoi(r.Fields["GENERATION"]); err != nil || n != c.g.number {
			return nil, fmt.Errorf("cannot greet generation %q: process %d is generation %d", r.Fields["GENERATION"], c.g.process.PID, c.g.number)
		}
		c.g.attach(c.link, c.pid, r.Fields["PHASE"])
		return handover.Fields{"KEPT": strings.Join(c.hub.sockets.kept(), ":")}, nil
	}
	if c.g.wire() != c.link {
		return nil, fmt.Errorf("cannot do %s before HELLO", r.Verb)
	}
	switch r.Verb {
	case handover.Keep:
		if len(r.Files) != 1 {
			return nil, fmt.Errorf("cannot keep %d sockets with one message: exactly one is expected", len(r.Files))
		}
		return nil, c.hub.sockets.keep(r.Fields["SOCKET"], r.Files[0], c.g)
	case handover.Ready:
		c.g.serves(strings.Split(r.Fields["SOCKETS"], ":"))
		c.g.becomesReady()
	case handover.Account:
		c.g.accountFor(r.Fields["REPORT"])
	case handover.Upgrade:
		c.hub.upgrade()
	default:
		return nil, fmt.Errorf("cannot do %s: the supervisor does not know it", r.Verb)
	}
	return nil, nil
}

func (h *hub) receive() {
	for {
		n, err := h.notify.Receive()
		if err != nil && !errors.Is(err, handover.ErrMalformed) {
			return
		}
		h.hear(n, err)
		n.Processed()
	}
}

// hear acts upon a notification, or upon err, which is why it cannot be read.
func (h *hub) hear(n handover.Notification, err error) {
	g := h.find(n.PID)
	switch {
	case g == nil && h.ended(n.PID):
	case n.PID == os.Getpid() && h.settling.Load() > 0: // a barrier of settle
	case g == nil || n.UID != g.uid:
		h.problem("ignored a notification of process %d of user %d: it is not a generation of this service", n.PID, n.UID)
	case err != nil:
		h.problem("generation %d: %v", g.number, err)
	default:
		if s, ok := n.Values["STATUS"]; ok {
			h.publish(g.say(s))
		}
		if n.Values["READY"] == "1" && !g.Steerable() { // who speaks the control wire says it there, with its sockets
			g.becomesReady()
		}
		if what, ok := n.Values["WATCHDOG"]; ok {
			g.watchdog.hear(what)
		}
	}
}
