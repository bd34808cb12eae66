package supervise_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// TestLostIsNamed kills a new generation in its probation, in the middle of
// known requests: exactly those are named, and the connections without one.
func TestLostIsNamed(t *testing.T) {
	c := config(t)
	c.Probation = 30 * time.Second
	r := start(t, c)
	elsewhere := r.send("GET /hold/old HTTP/1.1\r\nHost: x\r\n\r\n", true) // in the old one, which lives
	done := make(chan client.Report, 1)
	go func() { done <- r.restart(client.RestartRequest{}) }()
	switched := r.await(func(e client.Event) bool { return e.Kind == client.EventStep && e.Ended && e.Step.Name == "switch" })

	ask := func() { // answered, and its connection closed
		t.Helper()
		if err := r.ask(); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	var want []string
	named := func(c net.Conn, rest string) { want = append(want, c.LocalAddr().String()+rest) }
	named(r.send("GET /hold/a?token=secret HTTP/1.1\r\nHost: x\r\n\r\n", true), " active GET /hold/a")
	named(r.send("POST /hold/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf of i", true), " active POST /hold/upload")
	idle := r.send("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /hold/again HTTP/1.1\r\nHost: x\r\n\r\n", true)
	readHead(t, idle) // the second one's
	named(idle, " active GET /hold/again")
	quiet := r.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true)
	named(quiet, " idle  ")
	named(r.send("", false), " new  ")
	named(r.send("GET /hold/half HTTP/1.1\r\nHo", false), " new  ")
	ask() // comes after them: so they have been accepted

	if err := syscall.Kill(switched.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	report := <-done
	if report.Outcome != client.RolledBack || report.FailedStep != "probation" || !strings.Contains(report.Reason, "signal 9") {
		t.Errorf("outcome %q at %q: %s", report.Outcome, report.FailedStep, report.Reason)
	}
	var got []string
	for _, l := range report.Lost {
		if l.Remote == quiet.LocalAddr().String() && l.Path == "/" {
			l.State, l.Method, l.Path = "idle", "", "" // its answer was on its way when the process died
		}
		got = append(got, strings.Join([]string{l.Remote, l.State, l.Method, l.Path}, " "))
		if l.Kind != "http1" || l.Reason != handover.ReasonDied || l.Age < 0 || l.Age > 20*time.Second {
			t.Errorf("entry %+v", l)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || report.LostMore != 0 {
		t.Errorf("named %q and %d more, want %q", got, report.LostMore, want)
	}
	elsewhere.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := elsewhere.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Error("the request in the old generation did not survive")
	}
	elsewhere.Close()
}

// TestCutInRollback: a new generation that is given up alive leaves as any other,
// and what it has to cut is reported as well.
func TestCutInRollback(t *testing.T) {
	c := config(t)
	c.Probation, c.DrainTimeout = 30*time.Second, 200*time.Millisecond
	r := start(t, c)
	done := make(chan client.Report, 1)
	go func() { done <- r.restart(client.RestartRequest{}) }()
	r.await(func(e client.Event) bool { return e.Kind == client.EventStep && e.Ended && e.Step.Name == "switch" })
	held := r.send("GET /hold/on HTTP/1.1\r\nHost: x\r\n\r\n", true)
	r.get("/sicken")
	report := <-done
	if report.Outcome != client.RolledBack || !strings.Contains(report.Reason, "sick") {
		t.Errorf("outcome %q at %q: %s", report.Outcome, report.FailedStep, report.Reason)
	}
	if len(report.Lost) != 1 || report.Lost[0].Remote != held.LocalAddr().String() || report.Lost[0].Path != "/hold/on" || report.LostMore != 0 {
		t.Errorf("lost %+v and %d more", report.Lost, report.LostMore)
	}
}

// A generation that is proven keeps no journal any more, the first one neither.
func TestProvenKeepsNoJournal(t *testing.T) {
	r := start(t, config(t))
	without := func(pid int) {
		t.Helper()
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(maps), "segue-journal") {
			t.Errorf("process %d has a journal still", pid)
		}
	}
	without(r.status().Generations[0].PID)
	report := r.restart(client.RestartRequest{})
	without(report.To.PID)
	for _, s := range report.Steps {
		if s.Note != "" {
			t.Errorf("%s: %s", s.Name, s.Note)
		}
	}
	if len(report.Lost) > 0 || report.LostMore > 0 {
		t.Errorf("lost %+v", report.Lost)
	}
}

// send makes a connection that is closed when the test ends, and sends; answered
// waits for the head of an answer, and reads no further.
func (r *rig) send(text string, answered bool) net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Fatal(err)
	}
	if answered {
		readHead(r.t, c)
	}
	return c
}

func readHead(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var head strings.Builder
	for b := make([]byte, 1); !strings.HasSuffix(head.String(), "\r\n\r\n"); {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("answer %q: %v", head.String(), err)
		}
		head.Write(b)
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head.String())), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := resp.ContentLength; n > 0 {
		if _, err := io.CopyN(io.Discard, c, n); err != nil {
			t.Fatal(err)
		}
	}
}
