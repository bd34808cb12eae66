package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-go/segue/client"
)

var (
	began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	old   = &client.Generation{Number: 2, PID: 4711, Role: client.RoleServing, Binary: "/srv/shop-1", Started: began.Add(-26 * time.Hour), Managed: true, Status: "ready"}
	next  = &client.Generation{Number: 3, PID: 4790, Role: client.RoleServing, Binary: "/srv/shop-2", Started: began, Managed: true}
)

func steps(upTo string, failure string) []client.Step {
	var list []client.Step
	for _, s := range []client.Step{
		{Name: "spawn", Took: 3 * time.Millisecond}, {Name: "ready", Took: 212 * time.Millisecond},
		{Name: "trial", Took: time.Second}, {Name: "switch", Took: 400 * time.Microsecond},
		{Name: "probation", Took: 5 * time.Second}, {Name: "drain", Took: 83 * time.Second},
	} {
		if s.Name == upTo {
			s.Error = failure
			if failure == "" {
				s.Note = "cut short: the old generation was ended by signal 9 (killed)"
			}
			return append(list, s)
		}
		list = append(list, s)
	}
	return list
}

// reports are what people see at the end of everything that can happen.
var reports = map[string]client.Report{
	"restarted": {Action: "restart", Outcome: client.Done, From: old, To: next, Took: 6216 * time.Millisecond, Steps: steps("", ""),
		Drain: &client.Drain{Took: 640 * time.Millisecond, Exit: "exited with status 0", Told: true, InFlight: 12, Finished: 12}},
	"cut": {Action: "restart", Outcome: client.Done, From: old, To: next, Took: 89 * time.Second, Steps: steps("", ""),
		Drain: &client.Drain{Took: 83 * time.Second, Exit: "exited with status 0", Told: true, InFlight: 12, Finished: 10, Cut: []client.Cut{
			{Kind: "websocket", State: "open", Method: "GET", Path: "/chat\x1b[2J", Age: 3 * time.Hour, Remote: "127.0.0.1:50550", Reason: "the drain budget of 30s was over"},
			{Kind: "http/1.1", State: "active", Method: "POST", Path: "/orders/upload", Age: 90 * time.Second, Remote: "127.0.0.1:50551", Reason: "the drain budget of 30s was over"},
		}}},
	"moved": {Action: "restart", Outcome: client.Done, From: old, To: next, Took: 7 * time.Second,
		Steps: append(steps("", "")[:5:5], client.Step{Name: "move", Took: 600 * time.Millisecond}, client.Step{Name: "drain", Took: 90 * time.Millisecond}),
		Drain: &client.Drain{Took: 690 * time.Millisecond, Exit: "exited with status 0", Told: true, InFlight: 2, Finished: 2,
			Moved: map[string]int{"http1": 400, "websocket": 9000, "sse": 12}, MoveTook: 600 * time.Millisecond, LongestPause: 8 * time.Millisecond,
			Stayed: map[string]int{"TLS 1.2": 3}, Goodbyes: map[string]int{"TLS before 1.3": 2, "HTTP/2\x1b[2J": 3}}},
	"not-moved": {Action: "restart", Outcome: client.Done, From: old, To: next, Took: 7 * time.Second,
		Steps: append(steps("", "")[:5:5], client.Step{Name: "move", Note: "nothing moved: cannot do ADOPT: this generation does not know it"}),
		Drain: &client.Drain{Took: 690 * time.Millisecond, Exit: "exited with status 0", Told: true,
			Stayed: map[string]int{"TLS 1.2": 3, "not declared": 4}}},
	"not-told": {Action: "restart", Outcome: client.Done, From: old, To: next, Took: time.Minute, Steps: steps("probation", ""),
		Drain: &client.Drain{Took: 45 * time.Second, Exit: "was ended by signal 9 (killed)", Killed: true}},
	"rolled-back": {Action: "restart", Outcome: client.RolledBack, From: old, To: next, Took: 1300 * time.Millisecond,
		FailedStep: "trial", Reason: `probe of /healthz on "web": answered 503 Service Unavailable`, Steps: append(steps("trial", "answered 503"), client.Step{Name: "rollback", Took: 50 * time.Microsecond}),
		Output: []string{"listening on :8080", "the database is not there"}},
	"not-started": {Action: "restart", Outcome: client.Broken, To: next, Took: 15 * time.Millisecond,
		FailedStep: "ready", Reason: "the new generation exited with status 1", Steps: steps("ready", "the new generation exited with status 1")},
	"died": {Action: "restart", Outcome: client.RolledBack, From: old, To: next, Took: 2300 * time.Millisecond,
		FailedStep: "probation", Reason: "the new generation exited with status 7", Steps: append(steps("probation", "the new generation exited with status 7"), client.Step{Name: "rollback", Took: 50 * time.Microsecond}),
		Lost: []client.Cut{
			{Kind: "http1", State: "active", Method: "POST", Path: "/orders/\x1b[2J", Age: 90 * time.Millisecond, Remote: "127.0.0.1:50551", Reason: "the process died"},
			{Kind: "http1", State: "idle", Age: time.Second, Remote: "127.0.0.1:50552", Reason: "the process died"},
			{Kind: "websocket", State: "hijacked", Method: "GET", Path: "/chat", Age: time.Second, Remote: "127.0.0.1:50553", Reason: "the process died"},
		}, LostMore: 4},
	"lost": {Action: "restart", Outcome: client.Broken, From: old, To: next, Took: 15 * time.Millisecond,
		FailedStep: "probation", Reason: "both generations have ended", Steps: steps("probation", "both generations have ended")},
	"instances": {Action: "restart", Outcome: client.RolledBack, Took: 3 * time.Second, Parts: []client.Report{
		{Service: "shop.1", Action: "restart", Outcome: client.Done, From: old, To: next, Took: 2 * time.Second,
			Drain: &client.Drain{Took: 640 * time.Millisecond, Exit: "exited with status 0", Told: true, InFlight: 12, Finished: 12}},
		{Service: "shop.2", Action: "restart", Outcome: client.RolledBack, From: old, To: next, Took: time.Second,
			FailedStep: "ready", Reason: "the new generation exited with status 1", Output: []string{"no such table: orders"}},
	}},
	"rollback": {Action: "rollback", Outcome: client.Done, From: next, To: old, Took: 6 * time.Second},
	"no-rollback": {Action: "rollback", Outcome: client.RolledBack, From: next, To: old, Took: 6 * time.Second,
		FailedStep: "ready", Reason: "the new generation exited with status 1"},
	"reload": {Action: "reload", Outcome: client.Done, Took: 6 * time.Second, Unchanged: []string{"db", "cache"}, Parts: []client.Report{
		{Service: "web", Action: "restart", Outcome: client.Done, From: old, To: next, Took: 5 * time.Second},
		{Service: "mail", Action: "start", Outcome: client.Done, To: next, Took: 300 * time.Millisecond},
		{Service: "old", Action: "stop", Outcome: client.Done, From: old, Took: 200 * time.Millisecond},
	}},
	"reload-nothing": {Action: "reload", Outcome: client.Done, Took: 6 * time.Millisecond, Unchanged: []string{"db", "cache"}},
	"reload-one":     {Action: "reload", Outcome: client.Done, Took: 6 * time.Millisecond, From: old},
	"reload-bad": {Action: "reload", Outcome: client.RolledBack, Took: time.Second, Reason: "web did not become ready", Parts: []client.Report{
		{Service: "web", Action: "restart", Outcome: client.RolledBack, From: old, To: next, Took: time.Second, FailedStep: "ready", Reason: "the new generation exited with status 1"},
	}},
	"stopped-all": {Action: "stop", Outcome: client.Forced, Took: 2 * time.Second, Parts: []client.Report{
		{Service: "web", Action: "stop", Outcome: client.Done, From: old, Took: time.Second},
		{Service: "db", Action: "stop", Outcome: client.Forced, From: old, Took: 2 * time.Second, Reason: "it was not waited for",
			Drain: &client.Drain{Took: 2 * time.Second, Exit: "was ended by signal 9 (killed)", Killed: true}},
	}},
	"stopped": {Action: "stop", Outcome: client.Done, From: old, Took: 1500 * time.Millisecond,
		Drain: &client.Drain{Took: 1500 * time.Millisecond, Exit: "exited with status 0", Told: true}},
	"forced": {Action: "stop", Outcome: client.Forced, From: old, Took: 2 * time.Second, Reason: "it was not waited for",
		Drain: &client.Drain{Took: 2 * time.Second, Exit: "was ended by signal 9 (killed)", Killed: true}},
}

func TestReports(t *testing.T) {
	for name, r := range reports {
		r.Began = began
		if aboutAll := r.Action == "reload" && name != "reload-one" || name == "stopped-all"; !aboutAll {
			r.Service = "shop"
		}
		var b bytes.Buffer
		for _, terminal := range []bool{false, true} {
			s := &screen{w: &b, style: newStyle(terminal)}
			fmt.Fprintf(&b, "-- terminal: %v --\n", terminal)
			s.style.colour = terminal
			(&textPrinter{screen: s}).report(&r)
		}
		golden(t, filepath.Join("testdata", "report", name+".golden"), b.String())
	}
}

func TestStatus(t *testing.T) {
	rolledBack := reports["rolled-back"]
	rolledBack.Service, rolledBack.Began = "shop", began.Add(-time.Minute)
	paused := *old
	paused.Role, paused.Managed = client.RolePaused, false
	lines := statusLines(newStyle(false), client.Overview{Name: "shop", PID: 4242, Version: "v0.1.0", Services: []client.Status{{
		Service: "shop", State: client.Restarting, Reason: "why not", Since: began.Add(-2 * time.Second),
		Sockets:     []client.Socket{{Name: "web", Addr: "127.0.0.1:8080"}, {Name: "admin", Addr: "unix:/run/shop.sock"}},
		Generations: []client.Generation{paused, *next}, Restarts: 1, RolledBack: 1, Crashes: 2, LastReport: &rolledBack,
	}}}, "", began)
	golden(t, "testdata/report/status.golden", strings.Join(lines, "\n")+"\n")
}

// TestStatusOfSeveral: a table, and what is to be said of those that are not well.
func TestStatusOfSeveral(t *testing.T) {
	all := client.Overview{Name: "shop", PID: 4242, Version: "v0.1.0", File: "/srv/segue.yaml", Since: began.Add(-26 * time.Hour), Services: []client.Status{
		{Service: "db", State: client.Serving, Since: began.Add(-25 * time.Hour), Generations: []client.Generation{*old}, Sockets: []client.Socket{{Name: "db", Addr: "unix:/run/db.sock"}}},
		{Service: "web.1", State: client.Restarting, Since: began.Add(-2 * time.Second), Generations: []client.Generation{*old, {Number: 3, PID: 4790, Role: client.RoleTrial}}, Restarts: 12,
			Sockets: []client.Socket{{Name: "web", Addr: "127.0.0.1:8080"}, {Name: "admin", Addr: "127.0.0.1:8081"}}},
		{Service: "web.2", State: client.Serving, Since: began.Add(-2 * time.Minute), Generations: []client.Generation{*next}, Previous: old},
		{Service: "failed", State: client.Failed, Since: began.Add(-time.Minute), Reason: "the service failed 5 times in a row\x1b[2J"},
	}}
	for name, service := range map[string]string{"status-several": "", "status-instances": "web", "status-one": "web.2"} {
		lines := statusLines(newStyle(false), all, service, began)
		golden(t, "testdata/report/"+name+".golden", strings.Join(lines, "\n")+"\n")
	}
	st := newStyle(true)
	st.colour = true
	if row := statusLines(st, all, "", began)[6]; !strings.HasPrefix(row, "failed   \x1b[31mfailed\x1b[0m ") {
		t.Errorf("%q", row)
	}
}

// golden compares with a file; `go test -update` writes it anew.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n--- got\n%s--- want\n%s", path, got, want)
	}
}

// On a terminal a step that lasts is one line that is drawn again and again, and
// what else is printed appears above it.
func TestLiveLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		s := &screen{w: &b, terminal: true, style: newStyle(true), prefix: "segue | ", width: func() int { return 30 }}
		s.style.colour = false
		p := &textPrinter{screen: s, all: true}
		drawn := func() string { // since the last call
			s.mu.Lock()
			defer s.mu.Unlock()
			text := strings.ReplaceAll(b.String(), "\r\x1b[K", "<")
			b.Reset()
			return text
		}
		expect := func(want string) {
			t.Helper()
			if got := drawn(); got != want {
				t.Errorf("drawn %q, want %q", got, want)
			}
		}
		p.event(client.Event{Kind: client.EventStep, Step: &client.Step{Name: "ready", Began: time.Now()}})
		expect("segue |   … ready       0.0ms")
		time.Sleep(2*redraw + redraw/2) // virtual: testing/synctest
		expect("<segue |   … ready       100ms<segue |   … ready       200ms")
		p.event(client.Event{Kind: client.EventProblem, Text: "it rains"})
		expect("<segue | problem: it rains\nsegue |   … ready       250ms")
		p.event(client.Event{Kind: client.EventStep, Ended: true, Step: &client.Step{Name: "ready", Took: 300 * time.Millisecond}})
		expect("<segue |   ✓ ready       300ms\n")
		time.Sleep(time.Minute)
		expect("") // nothing is drawn while nothing happens
		p.event(client.Event{Kind: client.EventGeneration, Generation: 1, Role: client.RoleDraining, Time: time.Now()})
		expect("segue |   … drain       0.0ms") // cut at the edge
		p.close()
		expect("<")
	})
}
