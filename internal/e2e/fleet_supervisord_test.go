//go:build linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/testproc"
)

// TestFleetUnderSupervisord: what `segue generate supervisord` writes, under load:
// restarts, the death of the supervisor, and the end.
func TestFleetUnderSupervisord(t *testing.T) {
	if _, err := exec.LookPath("supervisord"); err != nil {
		t.Skip("SKIPPED: supervisord is not installed (apt-get install supervisor)")
	}
	f := newFleet(t)
	runtime := "SEGUE_RUNTIME_DIR=" + filepath.Join(f.dir, "run")
	f.api = filepath.Join(f.dir, "run", "fleet", "api.sock")
	section := filepath.Join(f.dir, "fleet.conf")
	f.generate("supervisord", "--file", f.file, "--output", section)
	config := filepath.Join(f.dir, "supervisord.conf")
	user := ""
	if os.Geteuid() == 0 {
		user = "user=root\n"
	}
	text := fmt.Sprintf("[supervisord]\n%[1]snodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile=%[2]s/pid\n"+
		"[unix_http_server]\nfile=%[2]s/ctl\n[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"+
		"[supervisorctl]\nserverurl=unix://%[2]s/ctl\n[include]\nfiles = %[3]s\n", user, f.dir, section)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(f.output())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("supervisord", "-c", config)
	cmd.Env = append(os.Environ(), runtime, quick)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	ctl := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("supervisorctl", append([]string{"-c", config}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("supervisorctl %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}

	f.serve(0)
	run := f.traffic()
	before, began := f.pids(), time.Now()
	restart := exec.Command(f.segue, "restart", "--name", "fleet")
	restart.Env = append(os.Environ(), runtime, quick)
	if out, err := restart.CombinedOutput(); err != nil {
		t.Fatalf("segue restart: %v\n%s", err, out)
	}
	f.met(run, "restart", began, f.began(f.report(), handover.StepSwitch))
	after := f.pids()
	if after[0] == before[0] || after[1] == before[1] {
		t.Errorf("processes %v serve after the restart, %v before", after, before)
	}

	pid := ctl("pid", "fleet")
	if n, err := strconv.Atoi(pid); err != nil || syscall.Kill(n, syscall.SIGKILL) != nil {
		t.Fatalf("supervisorctl says process %q", pid)
	}
	testproc.Until(t, "supervisord starts the supervisor again", func() bool {
		now := ctl("pid", "fleet")
		return now != pid && now != "0"
	})
	next, err := strconv.Atoi(ctl("pid", "fleet"))
	if err != nil {
		t.Fatal(err)
	}
	f.serve(next)
	f.flow(run)
	if now := f.pids(); now != after {
		t.Errorf("processes %v serve after the supervisor was killed, %v before", now, after)
	}

	ctl("signal", "USR2", "fleet")
	testproc.Until(t, "the signal has brought new processes", func() bool { now := f.pids(); return now[0] != after[0] && now[1] != after[1] })
	f.serve(next)
	f.flow(run)
	if err := f.account(run).Err(); err != nil {
		t.Error(err)
	}
	last := f.pids()
	ctl("stop", "fleet")
	for _, pid := range last {
		if !testproc.Gone(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
	if _, err := net.Dial("tcp", f.addrs["web"]); err == nil {
		t.Error("after a stop the socket is still there")
	}
}
