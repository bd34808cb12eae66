package supervise_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testproc"
)

// script is a member that is a shell script, which writes process ids into a file
// with say.
func script(t *testing.T, name, text string) (m supervise.Member, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "said")
	m.Config = supervise.Config{
		Name: name, Argv: []string{"/bin/sh", "-c", "say() { echo $1 >>" + file + "; }; " + text},
		Speaks: supervise.SpeaksNothing, ReadyTimeout: 30 * time.Second, DrainTimeout: 100 * time.Millisecond, KillAfter: 200 * time.Millisecond,
		Probes: []supervise.Probe{{Command: []string{"/bin/true"}}},
	}
	return m, file
}

// TestDeaf: a service that ignores SIGTERM, with a child that does as well, is killed
// as a group when its time is over, and its report says so.
func TestDeaf(t *testing.T) {
	m, file := script(t, "a", `trap '' TERM; sleep 1000 & say $!; say $$; while :; do wait; done`)
	h := open(t, m)
	h.becomes(client.Serving, "a")
	testproc.Until(t, "both are there", func() bool { return len(numbersIn(file)) == 2 })
	reports := make(chan client.Report, 1)
	go func() {
		r, err := h.Stop(context.Background(), "")
		if err != nil {
			t.Error(err)
		}
		reports <- r
	}()
	h.becomes(client.Stopping, "a")
	began := time.Now()
	h.Force() // its time is over
	r := <-reports
	if took := time.Since(began); took < m.KillAfter || took > 5*time.Second {
		t.Errorf("it took %v, and kill_after is %v", took, m.KillAfter)
	}
	if r.Outcome != client.Forced || r.Drain == nil || !r.Drain.Killed || !strings.Contains(r.Drain.Exit, "signal 9") {
		t.Errorf("%+v, drain %+v", r, r.Drain)
	}
	testproc.Until(t, "nobody is left", func() bool { return !slices.ContainsFunc(numbersIn(file), alive) })
}

// TestDeafNewcomer: a new generation that never becomes ready and ignores SIGTERM is
// killed without anybody's help.
func TestDeafNewcomer(t *testing.T) {
	m, file := script(t, "a", `trap '' TERM; say $$; while :; do sleep 1000; done`)
	m.Speaks, m.Probes = supervise.SpeaksSystemd, nil
	m.ReadyTimeout, m.Restart = 200*time.Millisecond, supervise.Never
	h := open(t, m)
	h.becomes(client.Failed, "a")
	testproc.Until(t, "nobody is left", func() bool { return !slices.ContainsFunc(numbersIn(file), alive) })
	if st := h.status("a"); !strings.Contains(st.Reason, "did not say READY=1 within 200ms") {
		t.Errorf("%+v", st)
	}
}

// TestGrandchild: a process that a service has left behind, in a session of its own,
// has its output and its socket. Restarts and the end do not wait for it. Its address
// is taken as long as it lives, and that is said.
func TestGrandchild(t *testing.T) {
	file := filepath.Join(t.TempDir(), "left")
	m := idler(t, "a")
	m.Argv = append(m.Argv, file)
	m.Listen = []supervise.Listen{{Name: "web", Addr: testproc.UnusedAddr(t)}}
	t.Cleanup(func() { killAll(numbersIn(file)) })
	h := open(t, m)
	h.becomes(client.Serving, "a")
	began := time.Now()
	for range 2 {
		r, err := h.Restart(context.Background(), "a", client.RestartRequest{})
		outcome(t, r, err, client.Done)
	}
	r, err := h.Stop(context.Background(), "a")
	outcome(t, r, err, client.Done)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if left := numbersIn(file); len(left) != 3 || testproc.Gone(left[0]) {
		t.Fatalf("left are %v", left)
	}
	_, err = h.Start(context.Background(), "a")
	if err == nil || !strings.Contains(err.Error(), "address already in use; stop what listens there") {
		t.Errorf("started though its socket is another's: %v", err)
	}
	killAll(numbersIn(file))
	r, err = h.Start(context.Background(), "a")
	outcome(t, r, err, client.Done)

	// It is no generation: the next supervisor does not take it for one.
	r, err = h.Stop(context.Background(), "")
	outcome(t, r, err, client.Done)
	h.done <- <-h.done
	m.Listen = nil
	h.plan.Services[0] = m
	again, err := supervise.Open(h.plan)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func alive(pid int) bool { return !testproc.Gone(pid) }

// numbersIn are the process ids in a file.
func numbersIn(file string) (pids []int) {
	data, _ := os.ReadFile(file)
	for _, f := range strings.Fields(string(data)) {
		pid, _ := strconv.Atoi(f)
		pids = append(pids, pid)
	}
	return pids
}

// killAll ends processes, and waits until they have; some may have long ago.
func killAll(pids []int) {
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
		for !testproc.Gone(pid) {
			time.Sleep(time.Millisecond)
		}
	}
}
