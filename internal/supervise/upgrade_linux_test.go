package supervise_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testproc"
)

// TestChildrenOfTheProgramBefore: what it has run beside the services ends under the
// next program, which waits for it.
func TestChildrenOfTheProgramBefore(t *testing.T) {
	a := post(t, "a")
	mark := filepath.Join(t.TempDir(), "runs")
	a.Hooks = []supervise.Hook{{Command: []string{"/bin/sh", "-c", "echo $$ > " + mark + "; sleep 3"}}}
	o := build(t, a)
	o.man("a")
	before := o.pid("a")
	syscall.Kill(before, syscall.SIGKILL)
	var hook int
	testproc.Until(t, "the hook runs, and a serves again", func() bool {
		text, err := os.ReadFile(mark)
		if err != nil {
			return false
		}
		n, _ := fmt.Sscan(string(text), &hook)
		st := o.status("a")
		return n == 1 && st.State == client.Serving && st.Generations[0].PID != before
	})
	if _, err := o.api.Upgrade(t.Context(), client.UpgradeRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	o.serve("a")
	if ended(hook) {
		t.Fatal("the hook was over before the upgrade: nothing is shown")
	}
	testproc.Until(t, "the hook is gone", func() bool { return syscall.Kill(hook, 0) != nil })
}
