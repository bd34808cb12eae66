//go:build linux

package cli

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait of a script.
const patience = 20 * time.Second

// TestScripts runs testdata/script, which is also how to read what the command
// does. Beyond what testscript knows, scripts may say
//
//	exits CODE PROGRAM ARGUMENT...     it must end with this exit code
//	await PATTERN PROGRAM ARGUMENT...  again and again, until its output matches
//	signal SIGNAL NAME                 to the supervisor of that name
//	dead-socket PATH                   leaves one as a killed process does
//	occupy VARIABLE                    listens on a TCP address, which it is set to
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("SEGUE_RUNTIME_DIR", filepath.Join(e.WorkDir, "run"))
			shop, err := exec.LookPath("shop")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else every program takes a second to end
			e.Setenv("BIN", filepath.Dir(shop))
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "await": await, "signal": sendSignal, "dead-socket": deadSocket, "occupy": occupy,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENT...")
	}
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await PATTERN PROGRAM ARGUMENT...")
	}
	pattern := regexp.MustCompile("(?m)" + args[0])
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		ts.Exec(args[1], args[2:]...)
		if pattern.MatchString(ts.ReadFile("stdout") + ts.ReadFile("stderr")) {
			return
		}
	}
	ts.Fatalf("never came: %s", args[0])
}

func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "USR2": syscall.SIGUSR2}
	if neg || len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal HUP|INT|TERM|USR2 NAME")
	}
	pid, err := os.ReadFile(filepath.Join(ts.Getenv("SEGUE_RUNTIME_DIR"), args[1], "lock"))
	ts.Check(err)
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	ts.Check(err)
	ts.Check(syscall.Kill(n, signals[args[0]]))
}

func deadSocket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: dead-socket PATH")
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: args[0], Net: "unix"})
	ts.Check(err)
	ln.SetUnlinkOnClose(false)
	ts.Check(ln.Close())
}

func occupy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: occupy VARIABLE")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
	ts.Setenv(args[0], ln.Addr().String())
}
