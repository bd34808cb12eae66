package manifest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/closest"
	"github.com/segue-go/segue/internal/supervise"
	"go.yaml.in/yaml/v3"
)

// What several keys must have in common.

func softBelowHard(r *reader, l *supervise.Limit) error {
	if l.Soft > l.Hard {
		return fmt.Errorf("cannot use these as %s: soft is above hard; raise hard, or lower soft", r.key)
	}
	return nil
}

// exactlyOne notes that of the keys called names not exactly one is there.
func (r *reader) exactlyOne(n *yaml.Node, called string, names []string, nodes ...*yaml.Node) {
	count := 0
	for _, there := range nodes {
		if there != nil {
			count++
		}
	}
	switch {
	case count == 0:
		r.bad(n, "add one of them", "%s needs %s", called, enumerate(names, "or"))
	case count > 1:
		r.bad(n, "make two of it", "%s has only one of %s", called, enumerate(names, "and"))
	}
}

func checkProbe(r *reader, n *yaml.Node, p *probe) {
	r.exactlyOne(n, "a probe", []string{"http", "tcp", "command"}, p.http.node, p.tcp.node, p.command.node)
	if p.socket.node != nil && p.http.node == nil {
		r.bad(p.socket.node, "remove it; tcp names its socket itself", "cannot use socket without http")
	}
}

func checkHook(r *reader, n *yaml.Node, h *hook) {
	r.exactlyOne(n, "a hook", []string{"command", "url"}, h.command.node, h.url.node)
}

func checkService(r *reader, _ *yaml.Node, s *service) {
	if s.Speaks == supervise.SpeaksNothing && len(s.sockets.value) > 0 {
		r.bad(s.sockets.node, "remove sockets, or teach the program segue's or systemd's contract", "cannot pass sockets to a program that speaks nothing")
	}
	checkGrouped(r, s.user, s.Group)
	var names []string
	for _, e := range s.sockets.value {
		names = append(names, e.name.value)
	}
	for _, p := range s.probes {
		s.checkProbed(r, p.value, p.node, names)
	}
}

// checkProbed: the socket that p is about is one of names. A program that speaks
// segue may open sockets itself, when none is declared.
func (s *service) checkProbed(r *reader, p probe, n *yaml.Node, names []string) {
	socket := p.socket
	if p.tcp.node != nil {
		socket = p.tcp
	}
	switch {
	case p.http.node == nil && p.tcp.node == nil:
	case len(names) == 0 && s.Speaks != supervise.SpeaksSegue:
		r.bad(n, "declare it under sockets, or use a command as the probe", "cannot probe a service that has no socket")
	case len(names) > 0 && socket.node != nil && socket.value != "" && !slices.Contains(names, socket.value):
		hint := "the sockets are " + enumerate(names, "and")
		if word := closest.Word(socket.value, names); word != "" {
			hint = "did you mean " + word + "?"
		}
		r.bad(socket.node, hint, "cannot probe socket %s: it is not declared under sockets", shown(r.deref(socket.node)))
	}
}

func checkFile(r *reader, n *yaml.Node, f *file) {
	all := f.services.value
	if f.services.node != nil && len(all) == 0 && r.deref(f.services.node).Kind == yaml.MappingNode && len(r.problems) == 0 {
		r.bad(f.services.node, "add one", "there is no service")
	}
	checkNames(r, all)
	checkAddresses(r, all)
	checkDependencies(r, all)
}

// reserved are the supervisor's own files, beside which each service has a
// directory.
var reserved = []string{"lock", "api.sock", "state.json"}

// checkNames: no name is that of a file of the supervisor, or of another service's
// instance.
func checkNames(r *reader, all []entry[service]) {
	there := map[string]bool{}
	for _, e := range all {
		there[e.name.value] = true
		if slices.Contains(reserved, e.name.value) {
			r.bad(e.name.node, "choose another name", "cannot call a service %s: the supervisor has a file of that name", quote(e.name.value))
		}
	}
	for _, e := range all {
		n := e.value.value.instances
		if n.value < 2 {
			continue
		}
		for i := 1; i <= n.value; i++ {
			name := e.name.value + "." + strconv.Itoa(i)
			switch {
			case there[name]:
				r.bad(n.node, "choose another name for one of the two", "cannot call instance %d of %s %s: there is a service of that name", i, e.name.value, name)
			case i == n.value && !nameForm.MatchString(name):
				r.bad(n.node, "choose a shorter name", "cannot call instance %d of %s %s: a name has at most 64 characters", i, e.name.value, name)
			}
		}
	}
}

// place is where a socket listens, to be compared with others.
type place struct {
	unix string
	port int
	ip   netip.Addr // when host is one
	host string     // "" is every interface
}

func placeOf(addr string) (place, error) {
	network, a, err := handover.SplitAddr(addr)
	if err != nil {
		return place{}, err
	}
	if network == "unix" {
		return place{unix: a}, nil
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return place{}, err
	}
	p := place{host: strings.ToLower(host)}
	if p.host == "localhost" {
		p.host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(p.host); err == nil {
		p.ip = ip.Unmap()
	}
	p.port, err = net.LookupPort("tcp", port)
	if err == nil && p.port == 0 {
		err = errors.New("any free port")
	}
	return p, err
}

// covers says whether p is every interface that q is of. [::] has those of IPv4
// too, 0.0.0.0 only those.
func (p place) covers(q place) bool {
	switch {
	case p.host == "":
		return true
	case !p.ip.IsValid() || !p.ip.IsUnspecified():
		return false
	}
	return p.ip.Is6() || q.host == "" || !q.ip.IsValid() || q.ip.Is4()
}

func (p place) collides(q place) bool {
	if p.unix != "" || q.unix != "" {
		return p.unix == q.unix
	}
	return p.port == q.port && (p.host == q.host || p.ip.IsValid() && p.ip == q.ip || p.covers(q) || q.covers(p))
}

// checkAddresses: no two sockets are at one address.
func checkAddresses(r *reader, all []entry[service]) {
	type taken struct {
		place
		service string
		socket  entry[socket]
	}
	var before []taken
	for _, e := range all {
		for _, s := range e.value.value.sockets.value {
			p, err := placeOf(s.value.value.Addr)
			if err != nil || !s.good {
				continue // was noted, or takes any free port
			}
			for _, b := range before {
				if r.stopped {
					return
				}
				if b.collides(p) {
					r.bad(s.value.node, "give one of them another address", "cannot open %s of %s: it has the address of %s of %s (line %d)",
						quote(s.name.value), e.name.value, quote(b.socket.name.value), b.service, b.socket.value.node.Line)
					break
				}
			}
			before = append(before, taken{p, e.name.value, s})
		}
	}
}

// checkDependencies: they are there, and do not go round in circles.
func checkDependencies(r *reader, all []entry[service]) {
	index := map[string]int{}
	var names []string
	for i, e := range all {
		index[e.name.value] = i
		names = append(names, e.name.value)
	}
	for _, e := range all {
		seen := map[string]bool{}
		for _, d := range e.value.value.dependsOn {
			if r.stopped {
				return
			}
			_, known := index[d.value]
			switch {
			case d.value == e.name.value:
				r.bad(d.node, "remove it", "%s cannot depend on itself", e.name.value)
			case !known:
				hint := "the services are " + enumerate(names, "and")
				if word := closest.Word(d.value, names); word != "" {
					hint = "did you mean " + word + "?"
				}
				r.bad(d.node, hint, "%s depends on %s, which is no service", e.name.value, shown(r.deref(d.node)))
			case seen[d.value]:
				r.bad(d.node, "remove one of the two", "%s depends on %s twice", e.name.value, d.value)
			}
			seen[d.value] = true
		}
	}
	const (
		unseen = iota
		open   // on the way to where we are
		done
	)
	state := make([]int, len(all))
	var way []string
	var visit func(i int)
	visit = func(i int) {
		state[i] = open
		way = append(way, names[i])
		for _, d := range all[i].value.value.dependsOn {
			j, known := index[d.value]
			switch {
			case !known || j == i:
			case state[j] == open:
				circle := append(slices.Clone(way[slices.Index(way, names[j]):]), names[j])
				r.bad(d.node, "remove one of these dependencies", "the services wait for each other: %s", strings.Join(circle, " -> "))
			case state[j] == unseen:
				visit(j)
			}
		}
		way = way[:len(way)-1]
		state[i] = done
	}
	for i := range all {
		if state[i] == unseen {
			visit(i)
		}
	}
}
