package ginsegue

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// envService makes this test binary the service; its value is the address.
const envService = "GINSEGUE_TEST_SERVICE"

func TestMain(m *testing.M) {
	if addr := os.Getenv(envService); addr != "" {
		os.Exit(child(addr))
	}
	goleak.VerifyTestMain(m)
}
