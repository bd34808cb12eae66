package supervise_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/segue-go/segue/client"
)

// TestCrashAfterRollback: the file that was refused is still where the program is
// looked for. What has served is started again, and a restart tries the file.
func TestCrashAfterRollback(t *testing.T) {
	a := tenant(t, "a")
	exe, err := os.ReadFile(a.Argv[0])
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "program")
	put := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(program+".new", content, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(program+".new", program); err != nil {
			t.Fatal(err)
		}
	}
	put(exe)
	a.Argv = []string{program}
	h := open(t, a)
	h.becomes(client.Serving, "a")
	put([]byte("#!/bin/sh\necho the bad version\nexit 9\n"))
	r, err := h.Restart(t.Context(), "a", client.RestartRequest{})
	outcome(t, r, err, client.RolledBack)
	for n := range 2 {
		before := h.pid("a")
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		h.serves("a", before)
		h.becomes(client.Serving, "a")
		if st := h.status("a"); st.Crashes != n+1 || st.Previous != nil || !strings.HasSuffix(st.Generations[0].Binary, "/program") {
			t.Errorf("%+v", st)
		}
	}
	r, err = h.Restart(t.Context(), "a", client.RestartRequest{})
	if outcome(t, r, err, client.RolledBack); !strings.Contains(strings.Join(r.Output, "\n"), "the bad version") {
		t.Errorf("%+v", r)
	}
	put(exe)
	r, err = h.Restart(t.Context(), "a", client.RestartRequest{})
	if outcome(t, r, err, client.Done); r.To.Binary != program {
		t.Errorf("%+v", r.To)
	}
}

// serves waits until another process does.
func (h *house) serves(name string, before int) {
	h.t.Helper()
	events, cancel := h.Subscribe()
	defer cancel()
	for {
		for _, g := range h.status(name).Generations {
			if g.Role == client.RoleServing && g.PID != before {
				return
			}
		}
		if _, ok := <-events; !ok {
			h.t.Fatal("the supervisor ended")
		}
	}
}
