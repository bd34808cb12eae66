package supervise_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testproc"
)

// pretender answers as a segue command does. It must never be executed in the place
// of this process.
func pretender(t *testing.T) client.UpgradeRequest {
	path := filepath.Join(t.TempDir(), "segue")
	text := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = version ] || { echo 'the test was executed anew'; exit 1; }\necho '{\"api\": %d}'\n", client.APIVersion)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return client.UpgradeRequest{Binary: path}
}

// refusedUpgrade waits for an upgrade to be, and says why.
func refusedUpgrade(t *testing.T, h *house) string {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- h.Upgrade(context.Background(), pretender(t)) }()
	select {
	case err := <-done:
		return fmt.Sprint(err)
	case <-time.After(20 * time.Second):
		t.Fatal("an upgrade waits for ever")
		return ""
	}
}

// TestUpgradeReadsTheFile: the next program has nothing else to go by, and could not
// go back.
func TestUpgradeReadsTheFile(t *testing.T) {
	a := tenant(t, "a")
	h := open(t, a)
	h.becomes(client.Serving, "a")
	h.next = func() (supervise.Plan, error) { return supervise.Plan{}, fmt.Errorf("segue.yaml:3:5: no such key") }
	if why := refusedUpgrade(t, h); !strings.Contains(why, "segue.yaml:3:5") {
		t.Error(why)
	}
	changed := h.plan
	changed.Services = []supervise.Member{a, tenant(t, "b")}
	h.next = func() (supervise.Plan, error) { return changed, nil }
	if why := refusedUpgrade(t, h); !strings.Contains(why, "reload") {
		t.Error(why)
	}
	if h.status("a").State != client.Serving {
		t.Errorf("%+v", h.Overview())
	}
}

// TestDependenciesTurnedRound: one service goes on with its old dependencies, the
// other has the new ones. Together they are a circle, and end all the same.
func TestDependenciesTurnedRound(t *testing.T) {
	a, b := tenant(t, "a"), tenant(t, "b")
	a.DependsOn = []string{"b"}
	h := open(t, a, b)
	h.becomes(client.Serving, "a", "b")
	a.DependsOn, b.DependsOn = nil, []string{"a"}
	a.Env = append(slices.Clone(a.Env), "TEST_SERVICE=exit")
	r, err := h.reload(a, b)
	outcome(t, r, err, client.RolledBack)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); h.Stop(ctx, "") }()
	select {
	case <-done:
	case <-ctx.Done():
		h.Force()
		t.Fatal("each waits for the other")
	}
}

// TestStartThatFailsHalfway: one of two instances cannot be made; the other one is
// none either.
func TestStartThatFailsHalfway(t *testing.T) {
	a := tenant(t, "a")
	a.Instances, a.Manual = 2, true
	h := open(t, a, tenant(t, "b"))
	h.becomes(client.Serving, "b")
	obstacle := filepath.Join(h.plan.Dir, "a.2")
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Start(context.Background(), "a"); err == nil {
		t.Error("it was started")
	}
	if st := h.status("a"); st.State != client.Stopped {
		t.Errorf("%+v", st)
	}
	os.Remove(obstacle)
	r, err := h.Start(context.Background(), "a")
	outcome(t, r, err, client.Done)
}

// TestEverythingAtOnce is for the race detector.
func TestEverythingAtOnce(t *testing.T) {
	a, b := tenant(t, "a"), tenant(t, "b")
	b.DependsOn = []string{"a"}
	h := open(t, a, b)
	h.becomes(client.Serving, "a", "b")
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	var all sync.WaitGroup
	often := func(f func(n int)) {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				f(n)
			}
		})
	}
	var mu sync.Mutex
	plan := h.plan
	h.next = func() (supervise.Plan, error) { mu.Lock(); defer mu.Unlock(); return plan, nil }
	often(func(n int) {
		a, b := a, b
		a.Instances = 1 + n%3
		b.DrainTimeout += time.Duration(n)
		mu.Lock()
		plan.Services = []supervise.Member{a, b}
		mu.Unlock()
		h.Reload(ctx, "")
	})
	often(func(int) { h.Reload(ctx, "") })
	often(func(int) { h.Restart(ctx, "a", client.RestartRequest{}) })
	often(func(int) { h.Start(ctx, "b") })
	often(func(int) { h.Stop(ctx, "b") })
	often(func(int) { h.Overview(); time.Sleep(time.Millisecond) })
	<-ctx.Done()
	h.RestartAll(context.Background())
	h.Stop(context.Background(), "")
	all.Wait()
}

// TestOpenThatFailsTouchesNothing: what serves from before goes on, at its path, and
// can be taken over when the cause is gone.
func TestOpenThatFailsTouchesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	a := post(t, "a")
	a.Probes = nil
	a.Listen = []supervise.Listen{{Name: "web", Addr: "unix:" + path}}
	o := build(t, a)
	o.man("a")
	before := o.pid("a")
	o.kill()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := post(t, "b")
	b.Listen[0].Addr = taken.Addr().String()
	o.plan(a, b)
	if err := o.command().Run(); err == nil {
		t.Fatal("it has opened an address that is in use")
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	taken.Close()
	o.man("a", "b")
	if o.pid("a") != before {
		t.Error("it was started anew")
	}
}

// TestProgramIsMissingAtATakeover: a deployment is under way. What serves is taken
// over all the same.
func TestProgramIsMissingAtATakeover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	program(t, path, "first")
	o := build(t, scripted(t, path))
	o.man("a")
	before := o.pid("a")
	o.kill()
	os.Remove(path)
	o.man("a")
	if o.pid("a") != before {
		t.Error("it was started anew")
	}
}

// TestGoneFromTheFile: what the file does not name any more was left by a
// supervisor that was killed, and ends under the next one.
func TestGoneFromTheFile(t *testing.T) {
	a, b := post(t, "a"), post(t, "b")
	a.Instances = 2
	o := build(t, a, b)
	o.man("a", "a.2", "b")
	second, other, first := o.pid("a.2"), o.pid("b"), o.pid("a")
	o.kill()
	a.Instances = 1
	c := post(t, "c")
	o.plan(a, c)
	o.man("a", "c")
	testproc.Until(t, "what is not in the file has ended", func() bool { return ended(second) && ended(other) })
	if o.pid("a") != first {
		t.Error("a was started anew")
	}
	testproc.Until(t, "what is not in the file is forgotten", func() bool {
		for _, name := range []string{"b", "a.2"} {
			if _, err := os.Stat(filepath.Join(o.dir, name, "state.json")); err == nil {
				return false
			}
		}
		return true
	})
}

// TestFileChangedBetweenSupervisors: it is applied as a reload would, which forgets
// addresses that nobody wants, and tries again what was rolled back.
func TestFileChangedBetweenSupervisors(t *testing.T) {
	free := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return ln.Addr().String()
	}
	a := post(t, "a")
	a.Listen[0].Addr = free()
	o := build(t, a)
	o.man("a")
	before := o.pid("a")
	o.kill()
	old := a.Listen[0].Addr
	a.Listen = []supervise.Listen{{Name: "web", Addr: free()}}
	o.plan(a)
	o.man()
	testproc.Until(t, "the new address is served and the old one closed", func() bool {
		c, err := net.Dial("tcp", old)
		if err == nil {
			c.Close()
		}
		all, bad := o.api.Overview(t.Context())
		return err != nil && bad == nil && len(all.Services) == 1 && all.Services[0].State == client.Serving && all.Services[0].Restarts == 1
	})
	if before == o.pid("a") {
		t.Error("it goes on as it was")
	}
	before = o.pid("a")
	o.kill()
	bad := a
	bad.Env = append(slices.Clone(a.Env), "TEST_SERVICE=exit")
	o.plan(bad)
	from := len(o.said(0))
	o.man()
	o.says(from, "rolled back")
	testproc.Until(t, "a reload tries again", func() bool {
		r, err := o.api.Reload(t.Context(), "", nil)
		return err == nil && r.Outcome == client.RolledBack && len(r.Unchanged) == 0
	})
	if before != o.pid("a") {
		t.Error("the one that served is gone")
	}
}
