package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
)

// house is a supervisor of several services in this process.
type house struct {
	*supervise.Supervisor
	t      *testing.T
	plan   supervise.Plan
	next   func() (supervise.Plan, error) // what a reload reads
	done   chan error
	cancel context.CancelFunc
}

// open opens a supervisor and, unless it fails, has it run until the test ends.
func open(t *testing.T, members ...supervise.Member) *house {
	t.Helper()
	h := &house{t: t, done: make(chan error, 1)}
	h.plan = supervise.Plan{Name: "house", Dir: t.TempDir(), Services: members}
	h.next = func() (supervise.Plan, error) { return h.plan, nil }
	h.plan.Read = func() (supervise.Plan, error) { return h.next() }
	var err error
	if h.Supervisor, err = supervise.Open(h.plan); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() { h.done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-h.done:
		case <-time.After(40 * time.Second):
			t.Error("the supervisor did not end")
		}
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(h.plan.Dir, "*", "logs", "*.log"))
			for _, l := range logs {
				text, _ := os.ReadFile(l)
				t.Logf("%s:\n%s", l, text)
			}
		}
	})
	return h
}

// tenant is a member called name that serves at a port of its own.
func tenant(t *testing.T, name string, env ...string) supervise.Member {
	c := config(t, env...)
	c.Name, c.RuntimeDir = name, ""
	c.Trial, c.Probation = 50*time.Millisecond, 150*time.Millisecond
	return supervise.Member{Config: c}
}

// status is that of one instance.
func (h *house) status(name string) client.Status {
	h.t.Helper()
	for _, st := range h.Overview().Services {
		if st.Service == name {
			return st
		}
	}
	h.t.Fatalf("there is no %s", name)
	return client.Status{}
}

// becomes waits until all these instances are in a state.
func (h *house) becomes(state client.State, names ...string) {
	h.t.Helper()
	events, cancel := h.Subscribe()
	defer cancel()
	late := time.After(30 * time.Second)
	for {
		missing := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return h.status(n).State == state })
		if len(missing) == 0 {
			return
		}
		select {
		case <-events:
		case <-time.After(50 * time.Millisecond): // a life may end without an event
		case <-late:
			h.t.Fatalf("%v never became %s: %+v", missing, state, h.Overview())
		}
	}
}

// pid is the process that serves.
func (h *house) pid(name string) int {
	h.t.Helper()
	for _, g := range h.status(name).Generations {
		if g.Role == client.RoleServing {
			return g.PID
		}
	}
	h.t.Fatalf("%s does not serve: %+v", name, h.status(name))
	return 0
}

// reload applies other members.
func (h *house) reload(members ...supervise.Member) (client.Report, error) {
	plan := h.plan
	plan.Services = members
	h.next = func() (supervise.Plan, error) { return plan, nil }
	return h.Reload(context.Background(), "")
}

func outcome(t *testing.T, r client.Report, err error, want client.Outcome) client.Report {
	t.Helper()
	if err != nil || r.Outcome != want {
		t.Fatalf("%+v, %v; want %s", r, err, want)
	}
	return r
}

// TestOrder: what others depend on is there first, and leaves last.
func TestOrder(t *testing.T) {
	a, b, c := tenant(t, "a"), tenant(t, "b"), tenant(t, "c")
	a.DependsOn, b.DependsOn = []string{"b"}, []string{"c"}
	h := open(t, a, b, c)
	events, cancel := h.Subscribe()
	defer cancel()
	h.becomes(client.Serving, "a", "b", "c")
	if a, b, c := h.status("a").Since, h.status("b").Since, h.status("c").Since; !a.After(b) || !b.After(c) {
		t.Errorf("serving since %v, %v, %v", a, b, c)
	}
	if names := names(h.Overview()); names != "c b a" {
		t.Errorf("shown as %s", names)
	}
	r, err := h.Stop(context.Background(), "")
	outcome(t, r, err, client.Done)
	var exits []string
	for len(exits) < 3 {
		if e, ok := <-events; !ok {
			t.Fatalf("no more events, exits %v", exits)
		} else if e.Kind == client.EventExit {
			exits = append(exits, e.Service)
		}
	}
	if !slices.Equal(exits, []string{"a", "b", "c"}) {
		t.Errorf("ended in the order %v", exits)
	}
	if err := <-h.done; err != nil {
		t.Error(err)
	}
	h.done <- nil
}

func names(o client.Overview) string {
	var all []string
	for _, st := range o.Services {
		all = append(all, st.Service)
	}
	return strings.Join(all, " ")
}

// TestWaiting: a service whose dependency has failed waits, and says for whom. It
// can be stopped, and cannot be restarted.
func TestWaiting(t *testing.T) {
	a, b := tenant(t, "a"), tenant(t, "b", "TEST_SERVICE=exit")
	a.DependsOn = []string{"b"}
	b.Restart = supervise.Never
	h := open(t, a, b)
	h.becomes(client.Failed, "b")
	if st := h.status("a"); st.State != client.Waiting || st.Reason != "for b" || len(st.Generations) != 0 {
		t.Errorf("%+v", st)
	}
	if _, err := h.Restart(context.Background(), "a", client.RestartRequest{}); err == nil || !strings.Contains(err.Error(), "a waits for b") {
		t.Error(err)
	}
	r, err := h.Stop(context.Background(), "a")
	outcome(t, r, err, client.Done)
	if st := h.status("a"); st.State != client.Stopped {
		t.Errorf("%+v", st)
	}
	if _, err := h.Start(context.Background(), "a"); err == nil || !strings.Contains(err.Error(), "it depends on b, which is not ready") {
		t.Error(err)
	}
}

// TestReload: each service is touched only if it has changed.
func TestReload(t *testing.T) {
	same, env, policy, left := tenant(t, "same"), tenant(t, "env"), tenant(t, "policy"), tenant(t, "gone")
	h := open(t, same, env, policy, left)
	h.becomes(client.Serving, "same", "env", "policy", "gone")
	before := map[string]int{}
	for _, n := range []string{"same", "env", "policy", "gone"} {
		before[n] = h.pid(n)
	}
	added := tenant(t, "added")
	env.Env = append(slices.Clone(env.Env), "OTHER=1")
	policy.DrainTimeout++
	policy.Restart = supervise.Always
	r, err := h.reload(same, env, policy, added)
	outcome(t, r, err, client.Done)
	if h.pid("same") != before["same"] || h.pid("policy") != before["policy"] || h.pid("env") == before["env"] || h.pid("added") == 0 || !gone(before["gone"]) {
		t.Errorf("before %v, after %+v", before, h.Overview())
	}
	if n := names(h.Overview()); n != "same env policy added" || !slices.Equal(r.Unchanged, []string{"same"}) || len(r.Parts) != 4 {
		t.Errorf("%s, %+v", n, r)
	}
	if st := h.status("env"); st.Sockets[0].Addr == "" || st.Restarts != 1 {
		t.Errorf("%+v", st)
	}
	// Nothing has changed any more.
	r, err = h.reload(same, env, policy, added)
	if outcome(t, r, err, client.Done); len(r.Unchanged) != 4 || len(r.Parts) != 0 {
		t.Errorf("%+v", r)
	}
}

// TestBadReload changes nothing: not for a file that cannot be read, a plan that
// makes no sense, or a socket that cannot be opened.
func TestBadReload(t *testing.T) {
	h := open(t, tenant(t, "a"), tenant(t, "b"))
	h.becomes(client.Serving, "a", "b")
	before := fmt.Sprint(h.pid("a"), h.pid("b"))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	a, b, c := h.plan.Services[0], h.plan.Services[1], tenant(t, "c")
	a.Env = append(slices.Clone(a.Env), "OTHER=1")
	b.Listen = append(slices.Clone(b.Listen), supervise.Listen{Name: "more", Addr: taken.Addr().String()})
	loop := tenant(t, "c")
	loop.DependsOn = []string{"c"}
	for what, members := range map[string][]supervise.Member{
		"cannot open socket \"more\"": {a, b, c}, "each waits for another": {a, loop}, "cannot supervise nothing": {},
	} {
		if _, err := h.reload(members...); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v; want %s", err, what)
		}
	}
	h.next = func() (supervise.Plan, error) {
		return supervise.Plan{}, errors.New("segue.yaml:3:5: there is no key comand")
	}
	if _, err := h.Reload(context.Background(), ""); err == nil || !strings.Contains(err.Error(), "segue.yaml:3:5") {
		t.Error(err)
	}
	if after := fmt.Sprint(h.pid("a"), h.pid("b")); after != before || names(h.Overview()) != "a b" {
		t.Errorf("before %s, after %s: %+v", before, after, h.Overview())
	}
}

// TestReloadRolledBack: the version that the file asks for does not start. The
// service goes on, and the next reload tries again.
func TestReloadRolledBack(t *testing.T) {
	good := tenant(t, "a")
	h := open(t, good)
	h.becomes(client.Serving, "a")
	before := h.pid("a")
	bad := good
	bad.Env = append(slices.Clone(bad.Env), "TEST_SERVICE=exit")
	for range 2 {
		r, err := h.reload(bad)
		if outcome(t, r, err, client.RolledBack); h.pid("a") != before || !strings.Contains(r.Reason, "exited with status 3") {
			t.Errorf("%+v", r)
		}
	}
	r, err := h.reload(good)
	if outcome(t, r, err, client.Done); h.pid("a") != before {
		t.Errorf("%+v", r)
	}
}

// TestReloadSockets: a socket with another address is another socket; one that is
// not wanted any more is closed, and the service keeps the others.
func TestReloadSockets(t *testing.T) {
	a := tenant(t, "a")
	a.Listen = []supervise.Listen{{Name: "web", Addr: "127.0.0.1:0"}}
	h := open(t, a)
	h.becomes(client.Serving, "a")
	old := h.status("a").Sockets[0].Addr
	moved := a
	path := filepath.Join(t.TempDir(), "a.sock")
	moved.Listen = []supervise.Listen{{Name: "web", Addr: "unix:" + path, Mode: 0o660}}
	r, err := h.reload(moved)
	outcome(t, r, err, client.Done)
	if st := h.status("a"); len(st.Sockets) != 1 || st.Sockets[0].Addr != "unix:"+path {
		t.Errorf("%+v", st.Sockets)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info, err)
	}
	if c, err := net.Dial("tcp", old); err == nil {
		c.Close()
		t.Error("somebody listens at the old address still")
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// TestInstances are restarted one after the other, are one service to the user, and
// go back together.
func TestInstances(t *testing.T) {
	a := tenant(t, "a")
	a.Instances = 3
	h := open(t, a)
	h.becomes(client.Serving, "a", "a.2", "a.3")
	r, err := h.Restart(context.Background(), "a", client.RestartRequest{})
	if outcome(t, r, err, client.Done); len(r.Parts) != 3 || r.Service != "a" {
		t.Errorf("%+v", r)
	}
	for n := range 2 {
		if first, second := r.Parts[n], r.Parts[n+1]; second.Began.Before(first.Began.Add(first.Took)) {
			t.Errorf("%s was restarted before %s was", second.Service, first.Service)
		}
	}
	// The second one cannot be changed: the first one, which has changed, goes back.
	bad := a
	bad.Env = append(slices.Clone(a.Env), "TEST_SERVICE=exit", "FAULT_INSTANCE=a.2")
	third := h.pid("a.3")
	r, err = h.reload(bad)
	outcome(t, r, err, client.RolledBack)
	var story []string
	for _, p := range r.Parts {
		story = append(story, fmt.Sprintf("%s %s %s", p.Action, p.Service, p.Outcome))
	}
	if got := strings.Join(story, ", "); got != "restart a done, restart a.2 rolled back, rollback a done" {
		t.Error(got)
	}
	if h.pid("a.3") != third {
		t.Error("the third one was touched")
	}
	r, err = h.reload(a)
	if outcome(t, r, err, client.Done); len(r.Unchanged) != 1 {
		t.Errorf("%+v", r)
	}
	// Fewer, then more.
	fewer := a
	fewer.Instances = 1
	r, err = h.reload(fewer)
	outcome(t, r, err, client.Done)
	if n := names(h.Overview()); n != "a" {
		t.Errorf("%s", n)
	}
	one := h.pid("a")
	r, err = h.reload(a)
	outcome(t, r, err, client.Done)
	if n := names(h.Overview()); n != "a a.2 a.3" || h.pid("a") != one {
		t.Errorf("%s", n)
	}
	h.becomes(client.Serving, "a", "a.2", "a.3")
}

// TestStoppedByHand: the supervisor stays, also when it has nothing else, and the
// service can be started again, on the same socket.
func TestStoppedByHand(t *testing.T) {
	h := open(t, tenant(t, "a"))
	h.becomes(client.Serving, "a")
	r, err := h.Stop(context.Background(), "a")
	outcome(t, r, err, client.Done)
	if st := h.status("a"); st.State != client.Stopped || len(st.Generations) != 0 {
		t.Errorf("%+v", st)
	}
	if _, err := h.Stop(context.Background(), "a"); err == nil {
		t.Error("it can be stopped twice")
	}
	if _, err := h.Restart(context.Background(), "a", client.RestartRequest{}); err == nil || !strings.Contains(err.Error(), "a is stopped") {
		t.Error(err)
	}
	r, err = h.Start(context.Background(), "a")
	if outcome(t, r, err, client.Done); r.To == nil || r.To.PID != h.pid("a") || r.To.Number != 2 {
		t.Errorf("%+v", r)
	}
	if _, err := h.Start(context.Background(), "a"); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Error(err)
	}
}
