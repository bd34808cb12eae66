package conns

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Members is a group of connections that are never in two processes at once.
type Members struct {
	h    *HTTP
	name string

	mu      sync.Mutex
	conns   map[*Conn]struct{}
	save    func() []byte
	state   []byte
	resumed bool
}

// groups are the groups of a server that have members.
type groups struct {
	mu    sync.Mutex
	named map[string]*Members
}

// Group makes the connection one of the named group: they stop, move and go on
// together, or stay together if one of them cannot. The state of a group is
// saved once. Names are those of one server. A connection belongs to one group
// only, the last one named. It should be Movable as well.
//
// A group is there as long as it has members. Outside an HTTP the result is a
// group of nobody.
func Group(ctx context.Context, name string) *Members {
	c, _ := ctx.Value(connKey{}).(*Conn)
	if c == nil {
		return &Members{}
	}
	return c.http.groups.join(c, name)
}

func (g *groups) join(c *Conn, name string) *Members {
	if m := c.members.Load(); m != nil {
		if m.name == name {
			return m
		}
		m.part(c)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.named[name]
	if m == nil {
		if g.named == nil {
			g.named = make(map[string]*Members)
		}
		m = &Members{h: c.http, name: name, conns: make(map[*Conn]struct{})}
		g.named[name] = m
	}
	m.mu.Lock()
	m.conns[c] = struct{}{}
	m.mu.Unlock()
	c.members.Store(m)
	return m
}

// part is called when a connection leaves the group, or is closed.
func (m *Members) part(c *Conn) {
	g := &m.h.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.conns, c)
	if len(m.conns) == 0 && g.named[m.name] == m {
		delete(g.named, m.name)
	}
}

// all returns the members.
func (m *Members) all() []*Conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.conns))
}

// arrive gives the group what was saved of it elsewhere.
func (m *Members) arrive(state []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.resumed = state, true
}

// Save is the function [Save] for the group as a whole: state is called once, when
// all members have stopped. A later Save, by whichever member, replaces it.
func (m *Members) Save(state func() []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.save = state
}

// Resumed is the function [Resumed] for the group: it reports whether the group
// has moved here, to every member that moved with it and to those that join it
// later, and returns what was saved. A move that fails, because a member is refused
// or not answered in time, may be tried again, and then it comes with another state:
// what was made of the first one is out of date.
func (m *Members) Resumed() ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.resumed
}
