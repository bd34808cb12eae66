package supervise

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segue-go/segue/internal/testproc"
)

// TestJournalHeader compares what journald is told with its protocol.
func TestJournalHeader(t *testing.T) {
	ln := journalAt(t)
	l := newLogs(t)
	out, err := l.open(1, "web", Logs{To: ToJournal})
	if err != nil {
		t.Fatal(err)
	}
	journald, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer journald.Close()
	cmd := exec.Command("sh", "-c", "echo out; echo err >&2")
	cmd.Stdout, cmd.Stderr = out.stdout, out.stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	out.end()
	text, err := io.ReadAll(journald) // ends: nobody holds the socket any more
	if want := "web\n\n6\n1\n0\n0\n0\nout\nerr\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v; want %q", text, err, want)
	}
	var shown strings.Builder
	if err := l.write(0, nil, &shown); err != nil || !strings.Contains(shown.String(), "journalctl -t web") {
		t.Errorf("who looks for the output is told %q, %v", &shown, err)
	}
}

// journalAt is a journald of the test's own.
func journalAt(t *testing.T) net.Listener {
	t.Helper()
	before := journalSocket
	t.Cleanup(func() { journalSocket = before })
	journalSocket = filepath.Join(t.TempDir(), "stdout")
	ln, err := net.Listen("unix", journalSocket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// TestNoJournal: the service is started all the same.
func TestNoJournal(t *testing.T) {
	journalAt(t).Close()
	out, err := newLogs(t).open(1, "web", Logs{To: ToJournal})
	if err == nil || !strings.Contains(err.Error(), "journald") {
		t.Errorf("%v", err)
	}
	if out.stdout != os.Stdout || out.stderr != os.Stderr {
		t.Error("the output does not go where ours goes")
	}
	out.end()
}

// TestJournal is with a real journald: lines have the service's name and the pid
// of the process that wrote them, and one may say how grave it is. The supervisor
// that has opened the stream has ended by then.
func TestJournal(t *testing.T) {
	systemd := testproc.BootSystemd(t, "../../tools")
	systemd.Ctl("start", "systemd-journald")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	systemd.Exec("env", "TEST_JOURNAL="+t.TempDir(), exe, "-test.run=^TestProcessWithTheJournal$")
	type entry struct {
		Message  string `json:"MESSAGE"`
		Priority string `json:"PRIORITY"`
		PID      string `json:"_PID"`
	}
	var got []entry
	testproc.Until(t, "the journal has both lines", func() bool {
		got = nil
		for line := range strings.Lines(systemd.Exec("journalctl", "--quiet", "-t", "web", "-o", "json")) {
			var e entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		return len(got) == 2
	})
	pid := got[0].PID
	if want := []entry{{"hello from " + pid, "6", pid}, {"grave", "3", pid}}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestProcessWithTheJournal is the supervisor of TestJournal: it ends before the
// service has written.
func TestProcessWithTheJournal(t *testing.T) {
	dir := os.Getenv("TEST_JOURNAL")
	if dir == "" {
		t.Skip("is run by TestJournal")
	}
	out, err := logs{dir}.open(1, "web", Logs{To: ToJournal})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "while kill -0 $PPID 2>/dev/null; do sleep 0.01; done; echo hello from $$; echo '<3>grave' >&2")
	cmd.Stdout, cmd.Stderr = out.stdout, out.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// TestInherit: the service has the supervisor's own output, and numbers go on.
func TestInherit(t *testing.T) {
	l := newLogs(t)
	out, err := l.open(3, "web", Logs{To: ToParent})
	if err != nil {
		t.Fatal(err)
	}
	if out.stdout != os.Stdout || out.stderr != os.Stderr {
		t.Error("the output is another one")
	}
	out.end()
	var shown strings.Builder
	if err := l.write(0, nil, &shown); err != nil || !strings.Contains(shown.String(), "its supervisor") {
		t.Errorf("who looks for the output is told %q, %v", &shown, err)
	}
	if n := l.numbers(); fmt.Sprint(n) != "[3]" {
		t.Errorf("numbers %v", n)
	}
}
