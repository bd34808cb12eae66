package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/segue-go/segue/examples/live/internal/stay"
	"github.com/segue-go/segue/internal/testproc"
)

// libraries are the names of the routes of echoes.
var libraries = []string{"gorilla", "coder", "gobwas", "gws", "melody"}

// stayers are clients of every kind that must notice nothing, on loopback and ten
// milliseconds away.
func (r *rig) stayers() (loads []stay.Load) {
	for _, at := range []struct {
		name string
		of   func(string) stay.Target
	}{{"near", r.near}, {"far", r.far}} {
		web, chi := at.of("web"), at.of("chi")
		add := func(name string, target stay.Target, clients int, every time.Duration, kind stay.Kind) {
			loads = append(loads, stay.Load{Name: at.name + "-" + name, Target: target, Clients: clients, Every: every, Kind: kind})
		}
		for _, l := range libraries {
			add(l, web, 5, 400*time.Millisecond, stay.Echo{Path: "/ws/" + l})
			add(l+"-fragments", web, 5, 700*time.Millisecond, stay.Echo{Path: "/ws/" + l, Fragments: true})
		}
		topic := at.name + "-ticks"
		add("publish", web, 1, 40*time.Millisecond, stay.Requests{Method: "POST", Path: "/publish", Topic: topic})
		add("topics", web, 5, 0, stay.Topic{Path: "/topics", Topic: topic})
		add("sse", web, 5, 0, stay.Events{Path: "/events", Topic: topic})
		add("sse-movable", web, 2, 0, stay.Events{Path: "/events/movable"})
		add("chat", web, 6, 200*time.Millisecond, stay.Room{Path: "/chat/" + at.name})
		add("get", web, 5, 100*time.Millisecond, stay.Requests{Method: "GET", Path: "/json"})
		add("idle", web, 5, 700*time.Millisecond, stay.Requests{Method: "GET", Path: "/json"})
		add("post", web, 5, 200*time.Millisecond, stay.Requests{Method: "POST", Path: "/json", Body: 20 << 10})
		add("pipeline", web, 5, 200*time.Millisecond, stay.Requests{Method: "GET", Path: "/json", Pipeline: 2})
		add("upload", web, 2, 700*time.Millisecond, stay.Requests{Method: "POST", Path: "/upload", Body: 512 << 10, Over: 600 * time.Millisecond})
		add("slow", web, 2, 500*time.Millisecond, stay.Requests{Method: "GET", Path: "/slow?for=300ms"})
		add("chi-gorilla", chi, 2, 250*time.Millisecond, stay.Echo{Path: "/ws/gorilla"})
		add("chi-sse", chi, 2, 0, stay.Events{Path: "/events", Topic: topic})
		add("chi-get", chi, 2, 100*time.Millisecond, stay.Requests{Method: "GET", Path: "/json"})
		if at.name == "near" {
			std := at.of("std") // a unix socket
			add("std-gorilla", std, 2, 250*time.Millisecond, stay.Echo{Path: "/ws/gorilla"})
			add("std-sse", std, 2, 0, stay.Events{Path: "/events", Topic: topic})
			add("std-get", std, 2, 100*time.Millisecond, stay.Requests{Method: "GET", Path: "/json"})
		}
	}
	return loads
}

// undeclared are clients of what stays in its process. Each restart has its own,
// since each tells them all.
func (r *rig) undeclared(n int) (loads []stay.Load) {
	add := func(name string, clients int, every time.Duration, kind stay.Kind) {
		loads = append(loads, stay.Load{Name: "undeclared-" + name, Target: r.near("web"), Clients: clients, Every: every, Kind: kind})
	}
	for _, l := range libraries {
		add(l, 3, 100*time.Millisecond, stay.Echo{Path: "/plain/" + l})
	}
	add("topics", 3, 0, stay.Topic{Path: "/undeclared/topics", Topic: "near-ticks"})
	add("sse", 3, 0, stay.Events{Path: "/events/plain"})
	add("chat", 3, 100*time.Millisecond, stay.Room{Path: fmt.Sprintf("/undeclared/chat/%d", n), Leave: true})
	return loads
}

// told fails the test unless every client was told that the service restarts,
// and none was closed in silence.
func (r *rig) told(run *stay.Run) {
	r.t.Helper()
	testproc.Until(r.t, "all that stay were told", func() bool {
		for _, c := range run.Ledger().Kinds {
			if c.Told+c.Closed < c.Clients {
				return false
			}
		}
		return true
	})
	ledger := run.Stop()
	for _, c := range ledger.Kinds {
		if c.Told != c.Clients || c.Closed+c.Duplicated+c.Reordered+c.Wrong > 0 {
			r.t.Errorf("%+v %q", c, ledger.Examples)
		}
	}
}

// TestLiveConnectionsStay restarts the service again and again, whoever supervises
// it. WebSockets of five libraries, event streams, topics, chats, requests and
// uploads go on, and no client notices; those that nobody has declared are told.
func TestLiveConnectionsStay(t *testing.T) {
	for _, c := range []struct {
		name  string
		start func(*testing.T, ...string) *rig
		args  []string
	}{
		{"supervised", supervised, nil},
		{"supervised-tls", supervised, []string{"-tls"}},
		{"signal", alone, nil},
		{"signal-tls", alone, []string{"-tls"}},
		{"systemd", underSystemd, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.start(t, c.args...)
			run := r.start(r.stayers()...)
			r.flow(run)
			for n := range restarts() {
				stays := r.start(r.undeclared(n)...)
				r.restart()
				r.told(stays)
				r.flow(run)
				if err := run.Ledger().Stayed(); err != nil {
					t.Errorf("restart %d: %v", n+1, err)
					break
				}
			}
			if err := r.account(run).Stayed(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNothingMovesWithoutRestart is the same without a restart: what the clients
// find then is their own doing.
func TestNothingMovesWithoutRestart(t *testing.T) {
	r := alone(t, "-tls")
	run := r.start(append(r.stayers(), r.undeclared(0)...)...)
	r.flow(run)
	if err := r.account(run).Stayed(); err != nil {
		t.Error(err)
	}
}

// TestTopics: who has subscribed after it has connected gets every event, once,
// and where that is not declared it is told to come back.
func TestTopics(t *testing.T) {
	r := supervised(t)
	publish := stay.Requests{Method: "POST", Path: "/publish", Topic: "news"}
	run := r.start(
		stay.Load{Name: "publish", Target: r.near("web"), Clients: 2, Every: 4 * time.Millisecond, Kind: publish},
		stay.Load{Name: "near", Target: r.near("web"), Clients: 20, Kind: stay.Topic{Path: "/topics", Topic: "news"}},
		stay.Load{Name: "far", Target: r.far("web"), Clients: 20, Kind: stay.Topic{Path: "/topics", Topic: "news"}},
	)
	for range 3 {
		stays := r.start(stay.Load{Name: "undeclared", Target: r.near("web"), Clients: 20, Kind: stay.Topic{Path: "/undeclared/topics", Topic: "news"}})
		r.flow(run)
		r.restart()
		r.told(stays)
	}
	r.flow(run)
	if err := r.account(run).Stayed(); err != nil {
		t.Error(err)
	}
}

// TestChat: a room moves as one. Every member gets every line, once and in order,
// and the count of those present stays right.
func TestChat(t *testing.T) {
	r := supervised(t)
	room := func(name string, target stay.Target, kind stay.Room) stay.Load {
		return stay.Load{Name: name, Target: target, Clients: 10, Every: 30 * time.Millisecond, Kind: kind}
	}
	run := r.start(room("near", r.near("web"), stay.Room{Path: "/chat/a"}), room("far", r.far("web"), stay.Room{Path: "/chat/b"}))
	for n := range 3 {
		stays := r.start(room("undeclared", r.near("web"), stay.Room{Path: fmt.Sprintf("/undeclared/chat/%d", n), Leave: true}))
		r.flow(run)
		r.restart()
		r.told(stays)
	}
	r.flow(run)
	if err := r.account(run).Stayed(); err != nil {
		t.Error(err)
	}
}

// TestRefusedReplay: each connection was let in by a ticket that is good once, so
// the new process cannot let it in again. After a few the move stops, and every
// client is told.
func TestRefusedReplay(t *testing.T) {
	r := supervised(t, "-refuse-replay")
	const clients = 300
	run := r.start(stay.Load{Name: "tickets", Target: r.near("web"), Clients: clients, Every: time.Second, Kind: stay.Echo{Path: "/ws/gorilla?ticket={n}"}})
	r.restart()
	r.told(run)
}

// TestRouteGone: the new version does not have the route of some connections.
// Their clients are told; nobody is closed in silence.
func TestRouteGone(t *testing.T) {
	r := supervised(t, "-drop-route", "2")
	run := r.start(stay.Load{Name: "gone", Target: r.near("web"), Clients: 20, Every: 100 * time.Millisecond, Kind: stay.Echo{Path: "/ws/gorilla"}})
	other := r.start(stay.Load{Name: "there", Target: r.near("web"), Clients: 20, Every: 100 * time.Millisecond, Kind: stay.Echo{Path: "/ws/coder"}})
	r.restart()
	r.told(run)
	// Whether the others move too depends on who was sent first.
	c := r.account(other).Kind("there")
	if c.Closed+c.Lost+c.Duplicated+c.Reordered+c.Wrong > 0 {
		t.Errorf("%+v", c)
	}
}

// TestCertificateIsMadeOnce: a successor has that of the first process.
func TestCertificateIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := certificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := certificate(dir)
	if err != nil || string(first.Certificate[0]) != string(second.Certificate[0]) {
		t.Errorf("a second certificate was made, or none: %v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 1 {
		t.Errorf("files %q", files)
	}
}
