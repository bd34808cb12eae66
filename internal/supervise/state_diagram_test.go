package supervise

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
)

var update = flag.Bool("update", false, "write the diagram of the states anew")

// states are those of the machine, in the order of the diagram. A service that waits
// for others has not begun yet.
var states = []client.State{client.Starting, client.Serving, client.Restarting, client.BackingOff, client.Stopping, client.Stopped, client.Failed}

// diagram is the table for people.
func diagram() string {
	id := func(s client.State) string { return strings.ReplaceAll(string(s), " ", "_") }
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n")
	for _, s := range states {
		if id(s) != string(s) {
			fmt.Fprintf(&b, "    state %q as %s\n", s, id(s))
		}
	}
	fmt.Fprintf(&b, "    [*] --> %s\n", id(client.Starting))
	for _, from := range states {
		for _, to := range states {
			var by []string
			for e := up; e <= gone; e++ {
				if there, ok := transitions[from][e]; ok && there == to {
					by = append(by, e.String())
				}
			}
			if len(by) > 0 {
				fmt.Fprintf(&b, "    %s --> %s: %s\n", id(from), id(to), strings.Join(by, ", "))
			}
		}
		if len(transitions[from]) == 0 {
			fmt.Fprintf(&b, "    %s --> [*]\n", id(from))
		}
	}
	b.WriteString("```\n")
	return b.String()
}

// TestDiagram: the diagram in the documentation is the table. With -update it becomes
// so.
func TestDiagram(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "SUPERVISION.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(data), "```mermaid\nstateDiagram-v2\n")
	_, after, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatalf("%s has no diagram of the states", path)
	}
	want := before + diagram() + after
	if want == string(data) {
		return
	}
	if !*update {
		t.Fatalf("%s has another diagram; write it anew with -update:\n%s", path, diagram())
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestRefusedEventsChangeNothing has the one writer of the state meet every event in
// every state, the unknown ones among them: it takes the step of the table and tells
// of it, or it refuses and nothing has happened.
func TestRefusedEventsChangeNothing(t *testing.T) {
	since := time.Now().Add(-time.Hour)
	for _, from := range append([]client.State{client.Waiting, "", "no state"}, states...) {
		for e := up; e <= gone; e++ {
			s := &Service{dir: t.TempDir(), bus: channel{newBus(), "test", false}, common: &common{sockets: &sockets{}}}
			s.view.state, s.view.reason, s.view.since = from, "as before", since
			events, _ := s.bus.subscribe()
			err := s.enter(e, "the reason")
			written, _ := recall(s.dir)
			to, possible := transitions[from][e]
			switch v := s.view; {
			case possible:
				if err != nil || v.state != to || v.reason != "the reason" || !v.since.After(since) || written == nil {
					t.Errorf("%s on %v: %v; %s (%s) since %v", from, e, err, v.state, v.reason, v.since)
				}
				if len(events) != 1 {
					t.Errorf("%s on %v: %d events, want 1", from, e, len(events))
				} else if told := <-events; told.Kind != client.EventState || told.State != to || told.Text != "the reason" {
					t.Errorf("%s on %v: %+v is told", from, e, told)
				}
			case err == nil || !strings.Contains(err.Error(), e.String()) || !strings.Contains(err.Error(), string(from)):
				t.Errorf("%s on %v: error %v", from, e, err)
			case v.state != from || v.reason != "as before" || v.since != since || len(events) > 0 || written != nil:
				t.Errorf("%s on %v is refused, and yet: %s (%s) since %v, %d events", from, e, v.state, v.reason, v.since, len(events))
			}
		}
	}
}

// TestTableLeadsToAnEnd: every state can be reached, and from every one the service
// can be brought to an end.
func TestTableLeadsToAnEnd(t *testing.T) {
	from := func(start client.State) map[client.State]bool {
		seen := map[client.State]bool{start: true}
		for open := []client.State{start}; len(open) > 0; open = open[1:] {
			for _, to := range transitions[open[0]] {
				if !seen[to] {
					seen[to] = true
					open = append(open, to)
				}
			}
		}
		return seen
	}
	for _, s := range states {
		if !from(client.Starting)[s] {
			t.Errorf("nothing leads to %s", s)
		}
		if s != client.Failed && !from(s)[client.Stopped] {
			t.Errorf("nothing leads from %s to %s", s, client.Stopped)
		}
		if to, err := next(s, stop); (err != nil) != (s == client.Stopping || s == client.Stopped || s == client.Failed) || err == nil && to != client.Stopping {
			t.Errorf("%s on stop: %s, %v", s, to, err)
		}
	}
}
