package supervise_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// awaitRefusal reads events until a problem names this process.
func (r *rig) awaitRefusal(says string) {
	r.t.Helper()
	e := r.await(func(e client.Event) bool { return e.Kind == client.EventProblem })
	if who := fmt.Sprintf("process %d of user %d", os.Getpid(), os.Geteuid()); !strings.Contains(e.Text, says) || !strings.Contains(e.Text, who) {
		r.t.Errorf("problem %q, want %q and %q in it", e.Text, says, who)
	}
}

// TestStrangers: this process has the user of the service, and is no generation
// of it. It is named, and nothing follows from what it says.
func TestStrangers(t *testing.T) {
	c := config(t)
	r := start(t, c)
	before := r.status()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	n := handover.NewNotifier(filepath.Join(c.RuntimeDir, "notify.sock"))
	defer n.Close()
	if err := n.Send("READY=1", "STATUS=mine"); err != nil {
		t.Fatal(err)
	}
	r.awaitRefusal("ignored a notification")
	if err := n.Send("no assignment"); err != nil {
		t.Fatal(err)
	}
	r.awaitRefusal("ignored a notification")
	if err := n.Barrier(ctx); err != nil { // a stranger does not wait for ever either
		t.Error(err)
	}
	r.awaitRefusal("ignored a notification")

	for _, verb := range []handover.Verb{handover.Hello, handover.Upgrade} {
		peer, err := handover.DialControl(ctx, filepath.Join(c.RuntimeDir, "control.sock"))
		if err != nil {
			t.Fatal(err)
		}
		l := handover.NewLink(peer, func(_ context.Context, q handover.Request) (handover.Fields, error) {
			q.Close()
			t.Errorf("a stranger was asked to %s", q.Verb)
			return nil, nil
		})
		_, err = l.Call(ctx, verb, handover.Fields{"GENERATION": fmt.Sprint(before.Generations[0].Number)})
		if err == nil || ctx.Err() != nil {
			t.Errorf("%s of a stranger: %v", verb, err)
		}
		l.Close()
		r.awaitRefusal("refused")
	}
	if after := r.status(); !reflect.DeepEqual(after, before) {
		t.Errorf("before: %+v\n after: %+v", before, after)
	}
	if report := r.restart(client.RestartRequest{}); report.Outcome != client.Done { // its link is the generation's still
		t.Errorf("report %+v", report)
	}
}

// TestReadyOfAStranger does not make a generation ready that never says so.
func TestReadyOfAStranger(t *testing.T) {
	c := config(t, "TEST_SERVICE=hang", "FAULT_AFTER=1")
	c.ReadyTimeout = time.Second
	r := start(t, c)
	report := make(chan client.Report, 1)
	go func() { report <- r.restart(client.RestartRequest{}) }()
	r.await(func(e client.Event) bool {
		return e.Kind == client.EventStep && e.Step.Name == "ready" && !e.Ended
	})
	n := handover.NewNotifier(filepath.Join(c.RuntimeDir, "notify.sock"))
	defer n.Close()
	if err := n.Send("READY=1"); err != nil {
		t.Fatal(err)
	}
	r.awaitRefusal("ignored a notification")
	if got := <-report; got.Outcome != client.RolledBack || got.FailedStep != "ready" || !strings.Contains(got.Reason, " within ") {
		t.Errorf("outcome %q at %q: %s", got.Outcome, got.FailedStep, got.Reason)
	}
}

// TestImpostor: a generation that says nothing of itself, or says that it is
// another one, is not taken for ready. What it was told is in its output.
func TestImpostor(t *testing.T) {
	c := config(t, "TEST_SERVICE=impostor", "FAULT_AFTER=1")
	c.ReadyTimeout = 2 * time.Second
	r := start(t, c)
	before := r.get("/")
	report := r.restart(client.RestartRequest{})
	if report.Outcome != client.RolledBack || report.FailedStep != "ready" || !strings.Contains(report.Reason, " within ") {
		t.Fatalf("report %+v", report)
	}
	if report.To == nil || report.To.Managed {
		t.Errorf("the impostor is %+v, want one without a control wire", report.To)
	}
	want := []string{
		"READY: cannot do READY before HELLO",
		"UPGRADE: cannot do UPGRADE before HELLO",
		fmt.Sprintf(`HELLO 1: cannot greet generation "1": process %d is generation 2`, report.To.PID),
		fmt.Sprintf(`HELLO x: cannot greet generation "x": process %d is generation 2`, report.To.PID),
		"READY: cannot do READY before HELLO", // a greeting that was refused is none
	}
	if !reflect.DeepEqual(report.Output, want) {
		t.Errorf("output\n%s\nwant\n%s", strings.Join(report.Output, "\n"), strings.Join(want, "\n"))
	}
	if after := r.get("/"); after != before {
		t.Errorf("process %s served, %s serves", before, after)
	}
	if st := r.status(); st.Restarts != 0 || st.RolledBack != 1 {
		t.Errorf("status %+v", st)
	}
}

// impostor is a service that tries what it may not, and then waits for its end.
func impostor() int {
	ctx := context.Background()
	peer, err := handover.DialControl(ctx, os.Getenv(handover.EnvControl))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	l := handover.NewLink(peer, func(_ context.Context, q handover.Request) (handover.Fields, error) {
		q.Close()
		fmt.Println("asked to", q.Verb)
		return nil, nil
	})
	say := func(v handover.Verb, generation string) {
		_, err := l.Call(ctx, v, handover.Fields{"GENERATION": generation, "SOCKETS": "web"})
		fmt.Printf("%s: %v\n", strings.TrimSpace(string(v)+" "+generation), err)
	}
	say(handover.Ready, "")
	say(handover.Upgrade, "")
	say(handover.Hello, "1")
	say(handover.Hello, "x")
	say(handover.Ready, "")
	<-l.Done()
	select {}
}
