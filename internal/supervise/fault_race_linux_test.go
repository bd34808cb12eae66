package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testproc"
)

// TestAtOnce: of several supervisors that are started at the same moment one wins, and
// the others say who. The same goes for those who want to take over what one that was
// killed has left: its service is adopted, once.
func TestAtOnce(t *testing.T) {
	o := build(t, post(t, "a"))
	served := 0
	for _, what := range []string{"anew", "after a death"} {
		from := 0
		if served > 0 {
			from = len(o.said(0))
		}
		all := make([]*exec.Cmd, 5)
		ended := make(chan *exec.Cmd, len(all))
		for n := range all {
			all[n] = o.command()
		}
		for _, cmd := range all {
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			go func() { cmd.Wait(); ended <- cmd }()
		}
		for range len(all) - 1 {
			cmd := <-ended
			if cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("%s: process %d ended with %v", what, cmd.Process.Pid, cmd.ProcessState)
			}
			all = slices.DeleteFunc(all, func(o *exec.Cmd) bool { return o == cmd })
		}
		o.cmd = all[0]
		o.serve("a")
		pid := o.pid("a")
		if served > 0 && pid != served {
			t.Errorf("process %d serves after the death of its supervisor, %d served before", pid, served)
		}
		served = pid
		visitor(t, o.address("a")).get("/")
		refused := fmt.Sprintf("cannot supervise \"outpost\": process %d does already", o.cmd.Process.Pid)
		if n := strings.Count(o.said(from), refused); n != 4 {
			t.Errorf("%s: %d of 4 say who is there:\n%s", what, n, o.said(from))
		}
		r, err := o.api.Restart(t.Context(), "a", client.RestartRequest{}, nil)
		outcome(t, r, err, client.Done)
		served = o.pid("a")
		o.cmd.Process.Kill()
		<-ended
	}
	o.cmd = nil
}

// TestRestartInReload: what is being changed is not restarted, and says why; what is
// not is. And the other way round: what is being restarted is not changed, and a
// reload of another service waits for nobody.
func TestRestartInReload(t *testing.T) {
	a, b := tenant(t, "a"), tenant(t, "b")
	a.Probation = 2 * time.Second
	h := open(t, a, b)
	h.becomes(client.Serving, "a", "b")
	changed := a
	changed.Env = append(slices.Clone(a.Env), "OTHER=1")
	reports := make(chan client.Report, 1)
	go func() {
		r, err := h.reload(changed, b)
		if err != nil {
			t.Error(err)
		}
		reports <- r
	}()
	h.becomes(client.Restarting, "a")
	var refused *client.Error
	if _, err := h.Restart(context.Background(), "a", client.RestartRequest{}); !errors.As(err, &refused) || refused.Hint == "" {
		t.Errorf("a restart in a reload: %v", err)
	}
	r, err := h.Restart(context.Background(), "b", client.RestartRequest{})
	outcome(t, r, err, client.Done)
	if _, err := h.reload(a, b); !errors.As(err, &refused) || refused.Hint == "" {
		t.Errorf("a reload in a reload: %v", err)
	}
	if r := <-reports; r.Outcome != client.Done || len(r.Parts) != 1 {
		t.Errorf("%+v", r)
	}

	go func() {
		r, err := h.Restart(context.Background(), "a", client.RestartRequest{})
		if err != nil {
			t.Error(err)
		}
		reports <- r
	}()
	h.becomes(client.Restarting, "a")
	other := b
	other.Env = append(slices.Clone(b.Env), "OTHER=1")
	before := h.pid("b")
	r, err = h.reload(a, other)
	if outcome(t, r, err, client.Broken); !strings.Contains(r.Reason, "a: ") || h.pid("b") == before {
		t.Errorf("%+v", r)
	}
	if r := <-reports; r.Outcome != client.Done {
		t.Errorf("%+v", r)
	}
	r, err = h.reload(a, other) // it was not forgotten
	if outcome(t, r, err, client.Done); len(r.Parts) != 1 || !slices.Equal(r.Unchanged, []string{"b"}) {
		t.Errorf("%+v", r)
	}
}

// sleeper is a program that takes a while to say that it is a segue command, or never
// does anything else.
func sleeper(t *testing.T, seconds string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "segue")
	text := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = version ] || { echo broken; exit 1; }\nsleep %s\necho '{\"version\": \"broken\", \"api\": %d}'\n", seconds, client.APIVersion)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBrokenUpgrade: the program in the supervisor's place says that it is one, and
// then does not supervise. The services go on, and the next supervisor has them.
func TestBrokenUpgrade(t *testing.T) {
	o := build(t, post(t, "a"), post(t, "b"))
	o.man("a", "b")
	a, b, addr := o.pid("a"), o.pid("b"), o.address("a")
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() {
		_, err := o.api.Upgrade(ctx, client.UpgradeRequest{Binary: sleeper(t, "0")}, nil)
		asked <- err
	}()
	if err := o.cmd.Wait(); err == nil || o.cmd.ProcessState.ExitCode() != 1 || !strings.HasSuffix(o.said(0), "broken\n") {
		t.Fatalf("it ended with %v:\n%s", err, o.said(0))
	}
	cancel()
	if err := <-asked; err == nil {
		t.Error("who asked for it was told that it went well")
	}
	if pid := visitor(t, addr).get("/"); pid != fmt.Sprint(a) {
		t.Errorf("process %s answers, not %d", pid, a)
	}
	o.man("a", "b")
	if o.pid("a") != a || o.pid("b") != b || o.address("a") != addr {
		t.Errorf("now %d and %d at %s, before %d and %d at %s", o.pid("a"), o.pid("b"), o.address("a"), a, b, addr)
	}
	r, err := o.api.Restart(t.Context(), "a", client.RestartRequest{}, nil)
	outcome(t, r, err, client.Done)
	r, err = o.api.Stop(t.Context(), "", nil)
	outcome(t, r, err, client.Done)
	if err := o.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestStopInUpgrade: who is told to stop stops, though an upgrade has begun, and who
// stops is not upgraded.
func TestStopInUpgrade(t *testing.T) {
	o := build(t, post(t, "a"))
	o.man("a")
	pid := o.pid("a")
	asked := make(chan error, 1)
	go func() {
		_, err := o.api.Upgrade(t.Context(), client.UpgradeRequest{Binary: sleeper(t, "1000")}, nil)
		asked <- err
	}()
	testproc.Until(t, "the other program is asked", func() bool { return len(lineage(o.dir)) > 3 }) // outpost, service, script
	r, err := o.api.Stop(t.Context(), "", nil)
	outcome(t, r, err, client.Done)
	if err := o.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := <-asked; err == nil {
		t.Error("who asked for the upgrade was told that it went well")
	}
	if !testproc.Gone(pid) {
		t.Errorf("process %d is left", pid)
	}
	for _, pid := range lineage(o.dir) {
		syscall.Kill(pid, syscall.SIGKILL) // the program that was asked
	}

	m := post(t, "a")
	h := open(t, m)
	h.becomes(client.Serving, "a")
	held := visitor(t, h.status("a").Sockets[0].Addr).send("GET /hold/x HTTP/1.1\r\nHost: x\r\n\r\n", true)
	go h.Stop(context.Background(), "")
	h.becomes(client.Stopping, "a")
	err = h.Upgrade(context.Background(), client.UpgradeRequest{Binary: sleeper(t, "0")})
	if err == nil || !strings.Contains(err.Error(), "cannot upgrade") {
		t.Errorf("upgraded while it stops: %v", err)
	}
	held.Close()
}

// TestUpgradeWhileOneWaits: a service that waits for another one that has failed is no
// reason not to upgrade.
func TestUpgradeWhileOneWaits(t *testing.T) {
	a, b := post(t, "a"), post(t, "b", "TEST_SERVICE=exit")
	a.DependsOn = []string{"b"}
	b.Restart = supervise.Never
	o := build(t, a, b)
	o.man()
	testproc.Until(t, "a waits", func() bool { return o.status("b").State == client.Failed && o.status("a").State == client.Waiting })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		_, err := o.api.Upgrade(ctx, client.UpgradeRequest{}, nil)
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "b is about to end") { // it has failed a moment ago
			t.Fatal(err)
		}
	}
	if st := o.status("a"); st.State != client.Waiting {
		t.Errorf("%+v", st)
	}
}
