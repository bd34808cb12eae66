//go:build linux

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testproc"
	"github.com/segue-go/segue/internal/verify"
)

// deaths are the ways in which a generation on probation dies at once.
var deaths = map[string]struct {
	signal syscall.Signal
	reason string
}{
	"exits":  {syscall.SIGUSR1, "exited with status 7"},
	"killed": {syscall.SIGKILL, "was ended by signal 9"},
}

// TestDeathInProbation: the old generation takes over again; only what the dead
// one had accepted is lost, and the report names it.
func TestDeathInProbation(t *testing.T) {
	for how, death := range deaths {
		t.Run(how, func(t *testing.T) {
			r, s := supervised(t, func(c *supervise.Config) { c.Probation = patience })
			old := r.who()
			run := r.traffic()
			r.fault(how)
			ended := make(chan client.Report, 1)
			go func() {
				report, err := s.Restart(context.Background(), client.RestartRequest{})
				if err != nil {
					t.Error(err)
				}
				ended <- report
			}()
			testproc.Until(t, "the new generation is on probation", func() bool {
				for _, g := range s.Status().Generations {
					if g.Role == client.RoleServing && g.PID != old.PID {
						return true
					}
				}
				return false
			})
			d := r.kill(run, old.PID, death.signal)
			report := <-ended
			if report.Outcome != client.RolledBack || report.FailedStep != "probation" || !strings.Contains(report.Reason, death.reason) {
				t.Errorf("%q at %q: %s", report.Outcome, report.FailedStep, report.Reason)
			}
			d.settle(old.PID, report.Lost, report.LostMore)
		})
	}
}

// TestDeathInProbationBySignal is the same with nobody above.
func TestDeathInProbationBySignal(t *testing.T) {
	const how = "killed"
	death := deaths[how]
	r := newRig(t)
	pid := r.alone("E2E_PROBATION=" + patience.String())
	run := r.traffic()
	r.fault(how)
	if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	testproc.Until(t, "the successor is on probation", func() bool {
		data, _ := os.ReadFile(filepath.Join(r.dir, "output"))
		return strings.Contains(string(data), "handover: probation")
	})
	d := r.kill(run, pid, death.signal)
	report := r.handedOver()
	if report.Outcome != handover.RolledBack || report.Failed != handover.StepProbation || !strings.Contains(report.Reason, death.reason) {
		t.Errorf("%q at %q: %s", report.Outcome, report.Failed, report.Reason)
	}
	var lost []client.Cut
	for _, l := range report.Lost {
		lost = append(lost, client.Cut(l))
	}
	d.settle(pid, lost, report.LostMore)
}

// aftermath is a death and who has met it.
type aftermath struct {
	*rig
	runs []*verify.Run
	at   time.Time
}

// kill has every kind of client come to the generation on probation over
// connections of their own, and kills it in the middle of that.
func (r *rig) kill(run *verify.Run, old int, signal syscall.Signal) aftermath {
	r.t.Helper()
	next := r.who()
	if next.PID == old {
		r.t.Fatalf("process %d answers, although its successor is on probation", old)
	}
	crowd := r.newcomers()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// The quick kinds have been answered a few times, the slow ones are at it.
	if err := crowd.Await(ctx, func(now map[string]verify.Counts) bool {
		for kind, c := range now {
			slow := strings.HasSuffix(kind, "slow") || strings.HasSuffix(kind, "upload") || strings.HasSuffix(kind, "chunked")
			if slow && c.Sent == 0 || !slow && c.OK < 3 {
				return false
			}
		}
		return true
	}); err != nil {
		r.t.Fatalf("the new generation is not used: %v: %+v", err, crowd.Counts())
	}
	d := aftermath{rig: r, runs: []*verify.Run{run, crowd}, at: time.Now()}
	if err := syscall.Kill(next.PID, signal); err != nil {
		r.t.Fatal(err)
	}
	return d
}

// settle compares what the clients have lost with what the report names.
//
// A client on loopback is named by its address. One behind the proxy is named by
// the proxy's, and one on a unix socket by none: of these each lost connection
// needs a name that is nobody else's. Whatever is lost later, on a connection
// that was named, is lost by the same death; on any other it is an error.
func (d aftermath) settle(old int, lost []client.Cut, more int) {
	t := d.t
	t.Helper()
	for _, run := range d.runs {
		d.flow(run) // the old generation serves every kind again
	}
	if now := d.who(); now.PID != old {
		t.Errorf("process %d serves, not %d", now.PID, old)
	}
	named := map[string][]client.Cut{} // by remote address
	spare := 0                         // connections that are not on loopback, or whose client has lost nothing
	for _, l := range lost {
		if l.Reason != handover.ReasonDied || l.Kind == "" || l.State == "" || l.Age < 0 || strings.Contains(l.Path, "?") || l.Path == "/probe" {
			t.Errorf("entry %+v", l)
		}
		if len(named[l.Remote]) == 0 || !strings.Contains(l.Remote, ":") {
			spare++
		}
		named[l.Remote] = append(named[l.Remote], l)
	}
	nameless := 0
	far := map[string]bool{} // lost connections that the report names by another address
	hit := map[string]bool{}
	requests := map[string]int{} // lost, by path, of HTTP/1
	for _, run := range d.runs {
		result := d.account(run)
		if result.Service.Twice > 0 || result.Service.Missing > 0 || result.Service.Stray > 0 || result.Service.Torn > 0 {
			t.Errorf("the ledgers do not agree: %v", result.Service.Err())
		}
		for _, k := range result.Kinds {
			if len(k.Examples) != k.Lost {
				t.Fatalf("%s: %d examples of %d losses", k.Kind, len(k.Examples), k.Lost)
			}
			for _, e := range k.Examples {
				if e.At.Before(d.at) {
					t.Errorf("%s was lost %v before the death: %s", e.ID, d.at.Sub(e.At), e.Detail)
				}
				if !strings.Contains(k.Kind, "h2") {
					requests[pathOf(k.Kind)]++
				}
				switch {
				case k.Kind == "unix": // one connection for each worker, and none has an address
					far[e.ID] = true
				case !strings.HasPrefix(k.Kind, "near-"):
					far[e.Local] = true
				case len(named[e.Local]) > 0:
					hit[e.Local] = true
					fits(t, e, named[e.Local])
				case d.at.Sub(e.Sent) < 100*time.Millisecond && nameless < more+atTheDoor:
					nameless++
					t.Logf("%s from %s was lost without a name, %v after it was sent: %s", e.ID, e.Local, e.At.Sub(e.Sent), e.Detail)
				default:
					t.Errorf("%s from %s was lost and is not named: %s", e.ID, e.Local, e.Detail)
				}
			}
		}
	}
	t.Logf("named %d and %d more; lost on loopback %d connections, elsewhere %d, without a name %d", len(lost), more, len(hit), len(far), nameless)
	if left := spare - len(hit); len(far) > left+more+atTheDoor {
		t.Errorf("%d connections from elsewhere were lost, %d are named", len(far), left)
	}
	// No more is named than was lost, but for answers that were on their way.
	for _, path := range []string{"/slow", "/upload", "/chunked"} {
		n := 0
		for _, l := range lost {
			if l.Kind == "http1" && l.Path == path {
				n++
			}
		}
		if n == 0 || n > requests[path]+onTheirWay {
			t.Errorf("%d requests for %s are named, %d were lost", n, path, requests[path])
		}
	}
}

// What the journal cannot know of the last moment. Each accept loop, of three
// sockets, may have a connection that it has not written down yet. And the
// workers of a slow kind beat in step, four near and four far: the answers of all
// of them may be on their way at once, named although they arrive (GUARANTEES.md,
// "Not promised").
const (
	atTheDoor  = 3
	onTheirWay = 8
)

// fits checks that a lost request is named as what it was, unless the process
// had not come to read it.
func fits(t *testing.T, e verify.Example, named []client.Cut) {
	t.Helper()
	path := pathOf(e.Kind)
	for _, l := range named {
		if l.Path == path || l.Path == "" || path == "" {
			return
		}
	}
	t.Errorf("%s from %s, a request for %s, is named as %+v", e.ID, e.Local, path, named)
}

func pathOf(kind string) string {
	for _, p := range []string{"slow", "upload", "chunked", "sse"} {
		if strings.HasSuffix(kind, p) {
			return "/" + p
		}
	}
	return "/echo"
}
