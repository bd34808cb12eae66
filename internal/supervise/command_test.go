//go:build unix

package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/internal/testproc"
)

func shell(t *testing.T, script string) command {
	return command{as: Config{Dir: t.TempDir(), Env: []string{"MODE=test"}}, argv: []string{"sh", "-c", script}, env: []string{"MORE=1"}, generation: 7}
}

func TestCommand(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/not/for/this")
	for name, test := range map[string]struct{ script, failure string }{
		"environment":            {`test "$MODE $MORE $SEGUE_GENERATION ${NOTIFY_SOCKET-none}" = "test 1 7 none"`, ""},
		"input":                  {`test "$(cat)" = input`, ""},
		"status":                 {`echo a; echo b >&2; exit 3`, "sh exited with status 3; it wrote:\na\nb"},
		"signal":                 {`kill -9 $$`, "sh was ended by signal 9 (killed)"},
		"much output":            {`seq 1 100000; exit 1`, "sh exited with status 1; it wrote:\n99991\n99992\n99993\n99994\n99995\n99996\n99997\n99998\n99999\n100000"},
		"one line without end":   {`printf 'x\377y'; exit 1`, "sh exited with status 1; it wrote:\nx?y"},
		"children are not left":  {`sleep 1000 & echo $! >$MODE`, ""},
		"a child that holds on":  {`exec 3<&0; setsid sh -c 'touch left; sleep 2' <&3 & until test -f left; do :; done; exit 5`, "sh exited with status 5"},
		"directory":              {`test -f here`, ""},
		"output that nobody got": {`exec >&-; exec 2>&-; exit 0`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := shell(t, test.script)
			c.input = []byte("input")
			if name == "a child that holds on" {
				c.input = make([]byte, 1<<20) // which it does not read
			}
			os.WriteFile(filepath.Join(c.as.Dir, "here"), nil, 0o600)
			began := time.Now()
			err := c.run(t.Context())
			if got := ""; err != nil {
				got = err.Error()
				if got != test.failure {
					t.Errorf("error %q, want %q", got, test.failure)
				}
			} else if test.failure != "" {
				t.Errorf("no error, want %q", test.failure)
			}
			if took := time.Since(began); name == "a child that holds on" && took > 1500*time.Millisecond {
				t.Errorf("took %v: it has waited for a child that left its group", took)
			}
			if pid, err := os.ReadFile(filepath.Join(c.as.Dir, "test")); err == nil {
				testproc.Until(t, "its child is gone", func() bool {
					state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
					return err != nil || strings.Contains(string(state), ") Z ")
				})
			}
		})
	}
}

// TestCommandIsKilled at the end of its time, with its children, and says what it
// was at.
func TestCommandIsKilled(t *testing.T) {
	c := shell(t, `echo waiting; sleep 1000 & sleep 1000`)
	c.input = make([]byte, 1<<20) // more than the pipe holds
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("nothing came within 300ms"))
	defer cancel()
	began := time.Now()
	err := c.run(ctx)
	if err == nil || err.Error() != "sh was killed: nothing came within 300ms; it wrote:\nwaiting" {
		t.Errorf("error %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	offspring.mu.Lock()
	defer offspring.mu.Unlock()
	if len(offspring.pids) > 0 {
		t.Errorf("%d processes are waited for", len(offspring.pids))
	}
}
