package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// serviceEnv makes the test binary the service: a real process with real signals.
const serviceEnv = "LIVE_TEST_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(serviceEnv) != "" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

func TestBadUse(t *testing.T) {
	for _, args := range [][]string{{"-no-such-flag"}, {"extra"}} {
		var out bytes.Buffer
		if code := run(t.Context(), args, &out, &out); code != 2 || out.Len() == 0 {
			t.Errorf("%v: exit code %d, %s", args, code, out.String())
		}
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"-help"}, &out, &out); code != 0 || !strings.Contains(out.String(), "refuse-replay") {
		t.Errorf("-help: exit code %d, %s", code, out.String())
	}
}
