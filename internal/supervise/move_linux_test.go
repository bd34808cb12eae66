package supervise_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/testnet"
)

// lasting is a connection that a client keeps.
type lasting struct {
	net.Conn
	in *bufio.Reader
}

func (r *rig) keep() *lasting {
	c := r.send("", false)
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return &lasting{c, bufio.NewReader(c)}
}

// get asks once, and returns which process has answered, and whether the client
// was told to go.
func (c *lasting) get(t *testing.T) (pid string, last bool) {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("answered %d, %v", resp.StatusCode, err)
	}
	return string(body), resp.Close
}

func stepNames(r client.Report) string {
	var names []string
	for _, s := range r.Steps {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

// TestConnectionsMove from one generation to the next, and the next.
func TestConnectionsMove(t *testing.T) {
	r := start(t, config(t))
	c := r.keep()
	c.get(t)
	for range 3 {
		report := r.restart(client.RestartRequest{})
		if pid, last := c.get(t); pid != fmt.Sprint(report.To.PID) || last {
			t.Errorf("process %s answered, last=%v; want %d", pid, last, report.To.PID)
		}
		if d := report.Drain; d == nil || d.Moved["http1"] != 1 || len(d.Stayed)+len(d.Cut) != 0 || d.MoveTook <= 0 || d.LongestPause <= 0 {
			t.Errorf("drain %+v", d)
		}
		if got := stepNames(report); got != "spawn ready trial switch probation move drain" {
			t.Errorf("steps %s", got)
		}
	}
}

// TestStatusCountsLiveConnections of each generation.
func TestStatusCountsLiveConnections(t *testing.T) {
	r := start(t, config(t))
	w, err := testnet.DialWebSocket(r.addr, "/ws")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	says := func(text string) {
		t.Helper()
		r.await(func(e client.Event) bool { return e.Kind == client.EventGeneration && e.Text == text })
		// The generation before may be about to end still.
		if g := r.status().Generations; len(g) == 0 || g[len(g)-1].Status != text {
			t.Errorf("generations %+v", g)
		}
	}
	says("ready; live connections: 1 websocket")
	r.restart(client.RestartRequest{})
	says("ready; live connections: 1 websocket; so far 1 moved in")
}

// TestConnectionsMoveBack from a generation that is given up and lives.
func TestConnectionsMoveBack(t *testing.T) {
	c := config(t, "FAULT_ONLY=2")
	c.Probes = nil
	c.Probation = 30 * time.Second
	r := start(t, c)
	old := r.keep()
	before, _ := old.get(t)
	reports := make(chan client.Report, 1)
	go func() { reports <- r.restart(client.RestartRequest{}) }()
	r.awaitRole(1, client.RolePaused)
	young := r.keep()
	if pid, _ := young.get(t); pid == before {
		t.Fatalf("process %s serves in probation", pid)
	}
	r.get("/sicken")
	report := <-reports
	for _, c := range []*lasting{old, young} {
		if pid, last := c.get(t); pid != before || last {
			t.Errorf("process %s answered, last=%v; want %s", pid, last, before)
		}
	}
	if report.Outcome != client.RolledBack || !strings.HasSuffix(stepNames(report), " rollback move") {
		t.Errorf("steps %s of %+v", stepNames(report), report)
	}
}

// TestKilledInTheMove: the old generation takes back what had not gone by then,
// tells nobody anything, and the next restart moves it.
func TestKilledInTheMove(t *testing.T) {
	const sockets = 100
	for _, replay := range []int{1, 50} {
		t.Run(fmt.Sprint("replay ", replay), func(t *testing.T) {
			c := config(t, fmt.Sprint("TEST_SERVICE=diesinreplay:", replay), "FAULT_ONLY=2")
			r := start(t, c)
			var all []*testnet.WebSocket
			for range sockets {
				w, err := testnet.DialWebSocket(r.addr, "/ws")
				if err != nil {
					t.Fatal(err)
				}
				defer w.Close()
				w.SetDeadline(time.Now().Add(60 * time.Second))
				all = append(all, w)
			}
			by := func(pid int) {
				t.Helper()
				left := all[:0]
				for i, w := range all {
					err := w.Send(fmt.Sprint(i))
					var text string
					if err == nil {
						text, err = w.Receive()
					}
					if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
						continue // without a word
					}
					if want := fmt.Sprint(pid, " ", i); err != nil || text != want {
						t.Errorf("answered %q, %v; want %q", text, err, want)
					}
					left = append(left, w)
				}
				all = left
			}
			idle := r.keep()
			before, _ := idle.get(t)
			old := r.status().Generations[0].PID
			by(old)

			report := r.restart(client.RestartRequest{})
			if report.Outcome != client.RolledBack || report.FailedStep != "move" || !strings.Contains(report.Reason, "signal 9") ||
				stepNames(report) != "spawn ready trial switch probation move rollback" {
				t.Fatalf("steps %s of %+v", stepNames(report), report)
			}
			by(old)
			if lost := sockets - len(all); lost > len(report.Lost)+report.LostMore || replay == 1 && lost+len(report.Lost) > 0 {
				t.Errorf("%d connections were closed; the report names %d and %d more", lost, len(report.Lost), report.LostMore)
			}
			if pid := r.get("/"); pid != before {
				t.Errorf("process %s accepts", pid)
			}
			if len(all) == sockets {
				if pid, last := idle.get(t); pid != before || last {
					t.Errorf("process %s answered, last=%v", pid, last)
				}
			}

			report = r.restart(client.RestartRequest{})
			if report.Outcome != client.Done || report.Drain.Moved["websocket"] != len(all) || len(report.Drain.Goodbyes) > 0 {
				t.Errorf("%+v, drain %+v, %d connections", report, report.Drain, len(all))
			}
			left := len(all)
			if by(report.To.PID); len(all) != left {
				t.Errorf("%d connections were closed in the second move", left-len(all))
			}
		})
	}
}

// TestOldFashionedSuccessor: connections that nobody adopts are drained.
func TestOldFashionedSuccessor(t *testing.T) {
	c := config(t, "TEST_SERVICE=oldfashioned", "FAULT_AFTER=1")
	c.Probes = nil
	r := start(t, c)
	k := r.keep()
	before, _ := k.get(t)
	reports := make(chan client.Report, 1)
	go func() { reports <- r.restart(client.RestartRequest{}) }()
	r.awaitRole(1, client.RoleDraining)
	for last := false; !last; {
		var pid string
		if pid, last = k.get(t); pid != before {
			t.Fatalf("process %s answered", pid)
		}
	}
	report := <-reports
	if report.Outcome != client.Done || stepNames(report) != "spawn ready trial switch probation move drain" {
		t.Fatalf("report %+v", report)
	}
	if note := report.Steps[5].Note; note != "no connection was moved to generation 2: cannot do ADOPT" {
		t.Errorf("note %q", note)
	}
	if d := report.Drain; len(d.Cut)+len(d.Moved) != 0 {
		t.Errorf("drain %+v", d)
	}
}

// TestOldFashionedPredecessor has no use for the descriptor that DRAIN brings, and
// the one that waits for its connections is none the worse.
func TestOldFashionedPredecessor(t *testing.T) {
	c := config(t, "TEST_SERVICE=oldfashioned", "FAULT_ONLY=1")
	c.Probes = nil
	r := start(t, c)
	for range 2 {
		k := r.keep()
		k.get(t)
		report := r.restart(client.RestartRequest{})
		if report.Outcome != client.Done || report.Drain.Killed || report.Drain.Exit != "exited with status 0" {
			t.Errorf("report %+v, drain %+v", report, report.Drain)
		}
		note := ""
		if report.From.Number == 1 {
			note = "connections move while generation 1 drains: cannot do MOVE"
		}
		if stepNames(report) != "spawn ready trial switch probation move drain" || report.Steps[5].Note != note {
			t.Errorf("steps %s, note %q", stepNames(report), report.Steps[5].Note)
		}
	}
}

// oldFashioned is a service from before connections moved: it does not know
// ADOPT, and of DRAIN only the verb.
func oldFashioned() int {
	ctx := context.Background()
	in, err := handover.Inherit()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ln, err := in.Sockets[0].Listener()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getpid()) })}
	peer, err := handover.DialControl(ctx, in.Control)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	left := make(chan struct{})
	l := handover.NewLink(peer, func(_ context.Context, q handover.Request) (handover.Fields, error) {
		q.Close()
		switch q.Verb {
		case handover.Trial, handover.Check, handover.Pause, handover.Resume, handover.Proven:
		case handover.Open:
			go server.Serve(ln)
		case handover.Drain, handover.Stop:
			close(left)
		default:
			return nil, fmt.Errorf("cannot do %s", q.Verb)
		}
		return nil, nil
	})
	l.Call(ctx, handover.Hello, handover.Fields{"GENERATION": fmt.Sprint(in.Generation)})
	l.Call(ctx, handover.Ready, handover.Fields{"SOCKETS": "web"})
	<-left
	server.Shutdown(ctx)
	return 0
}
