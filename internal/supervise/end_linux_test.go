package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
	"golang.org/x/sys/unix"
)

func (r *rig) awaitRole(generation int, role client.Role) {
	r.t.Helper()
	r.await(func(e client.Event) bool {
		return e.Kind == client.EventGeneration && e.Generation == generation && e.Role == role
	})
}

func (r *rig) awaitState(s client.State) {
	r.t.Helper()
	r.await(func(e client.Event) bool { return e.Kind == client.EventState && e.State == s })
}

// TestOldOneEndsWhileTheNewOneLeaves: after a roll back the new generation may
// take its whole drain to leave. Whoever serves meanwhile is watched all the same.
func TestOldOneEndsWhileTheNewOneLeaves(t *testing.T) {
	c := config(t, "FAULT_ONLY=2")
	c.Probes = nil
	c.Probation = 30 * time.Second
	r := start(t, c)
	old := r.status().Generations[0].PID
	reports := make(chan client.Report, 1)
	go func() { reports <- r.restart(client.RestartRequest{}) }()
	r.awaitRole(1, client.RolePaused)
	held := r.send("GET /hold/x HTTP/1.1\r\nHost: x\r\n\r\n", true)
	r.get("/sicken")
	r.awaitRole(2, client.RoleEnding)
	r.awaitState(client.Serving)
	syscall.Kill(old, syscall.SIGKILL)
	r.awaitState(client.Serving) // that is generation 3
	select {
	case report := <-reports:
		t.Errorf("generation 2 has left already: %+v", report)
	default:
	}
	r.get("/")
	held.Close()
	if report := <-reports; report.Outcome != client.RolledBack {
		t.Errorf("report %+v", report)
	}
}

// TestStopWhenFailed: a service that has failed may have a generation that
// drains still. Who asks for its end hears of it.
func TestStopWhenFailed(t *testing.T) {
	c := config(t, "TEST_SERVICE=die:500ms", "FAULT_AFTER=1")
	c.Trial, c.Probation, c.Probes = 0, 0, nil
	c.DrainTimeout = time.Minute // the first generation drains still when the service has failed
	s, err := supervise.New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, s: s, addr: s.Status().Sockets[0].Addr, status: s.Status}
	r.events, _ = s.Subscribe()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.Background()) }()
	r.awaitState(client.Serving)
	held := r.send("GET /hold/x HTTP/1.1\r\nHost: x\r\n\r\n", true)
	restarted := make(chan client.Report, 1)
	go func() { restarted <- r.restart(client.RestartRequest{}) }()
	r.awaitState(client.Failed)
	stopped := make(chan client.Report, 1)
	go func() {
		report, err := s.Stop(context.Background())
		if err != nil {
			t.Error(err)
		}
		stopped <- report
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s.StopsAsked() == 0 {
		<-tick.C
	}
	held.Close()
	if err := <-ended; err == nil {
		t.Error("a service that has failed ended well")
	}
	<-restarted
	select {
	case report := <-stopped:
		if report.Action != "stop" || report.Outcome != client.Done {
			t.Errorf("report %+v", report)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody answered")
	}
}

// TestSurvivor: a supervisor was killed, and its generation serves still.
func TestSurvivor(t *testing.T) {
	c := config(t)
	if err := os.Mkdir(filepath.Join(c.RuntimeDir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(c.RuntimeDir, "logs", "7.log"))
	if err == nil {
		err = unix.Flock(int(log.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	survivor := exec.Command("cat")
	survivor.Stdout = log
	in, err := survivor.StdinPipe()
	if err == nil {
		err = survivor.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	log.Close()
	_, err = supervise.New(c)
	want := fmt.Sprintf("generation 7 (process %d) runs still, though its supervisor is gone; `kill %[1]d` ends it in order", survivor.Process.Pid)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	in.Close()
	if err := survivor.Wait(); err != nil {
		t.Fatal(err)
	}
	// It is what a generation that was killed with its supervisor looks like.
	r := start(t, c)
	log, err = os.Open(filepath.Join(c.RuntimeDir, "logs", "8.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := unix.Flock(int(log.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("the log of a generation that lives can be locked: %v", err)
	}
	if _, err := r.s.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(log.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("the log of a generation that has left cannot be locked: %v", err)
	}
}

// TestDescriptorsDoNotGrow: whoever follows the log of a service lets go of the
// generations whose logs are not kept any more, and so does the supervisor.
func TestDescriptorsDoNotGrow(t *testing.T) {
	c := config(t, "GORACE=atexit_sleep_ms=0") // which is a second for each
	c.Trial, c.Probation, c.Probes = 0, 0, nil
	r := start(t, c)
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	followed := make(chan error, 1)
	go func() {
		followed <- r.s.Follow(ctx, 0, true, func(n int) string { return fmt.Sprintf("%d|", n) }, in)
		in.Close()
	}()
	text := make(chan string, 1)
	go func() {
		data, _ := io.ReadAll(out)
		text <- string(data)
	}()
	const restarts = 24 // above the number of logs that are kept
	for range restarts {
		if report := r.restart(client.RestartRequest{}); report.Outcome != client.Done {
			t.Fatalf("report %+v", report)
		}
	}
	late := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for removed(c.RuntimeDir) > 0 {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d removed logs are open", removed(c.RuntimeDir))
		}
	}
	cancel()
	if err := <-followed; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	got := <-text
	for n := 1; n <= restarts+1; n++ {
		if !strings.Contains(got, fmt.Sprintf("%d|", n)) {
			t.Errorf("nothing of generation %d", n)
		}
	}
}

// removed is how many files under dir this process has open that are gone.
func removed(dir string) (n int) {
	all, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range all {
		if to, _ := os.Readlink(fd); strings.HasPrefix(to, dir) && strings.HasSuffix(to, " (deleted)") {
			n++
		}
	}
	return n
}
