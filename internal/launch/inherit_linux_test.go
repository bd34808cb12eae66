package launch

import (
	"os"
	"testing"

	"github.com/segue-go/segue/handover"
)

// What a service opens anew by its descriptor, as the wire has it, is its user's to open.
func TestTheSoloLockUnderAnotherUser(t *testing.T) {
	needRoot(t)
	solo, err := handover.NewSoloLock()
	if err != nil {
		t.Fatal(err)
	}
	defer solo.Close()
	got := run(t, Spec{User: "nobody"}, handover.Command{Solo: solo, Env: []string{"PATH=" + os.Getenv("PATH")}},
		`exec 9<> /proc/self/fd/$SEGUE_SOLO && flock -n 9 && echo locked`)
	if got.out != "locked\n" {
		t.Errorf("%q", got.out)
	}
}
