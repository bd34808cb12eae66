package launch

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	Main()
	if os.Getenv("LAUNCH_TEST_OTHER") != "" { // this test binary as another user
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}
