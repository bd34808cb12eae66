package handover

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The test binary is a generation as well: see generation_linux_test.go.
func TestMain(m *testing.M) {
	if mode := os.Getenv("HANDOVER_TEST"); mode != "" {
		os.Exit(children[mode]())
	}
	goleak.VerifyTestMain(m)
}

// children are what the test binary can be besides a test.
var children = map[string]func() int{}
