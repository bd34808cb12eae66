package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/testproc"
)

const tools = "../../tools"

// systemds are the versions that there may be: the machine's, and a newer one that
// knows Type=notify-reload.
var systemds = []struct {
	name string
	boot func(*testing.T) *testproc.Systemd
}{
	{"here", func(t *testing.T) *testproc.Systemd { return testproc.BootSystemd(t, tools) }},
	{"newer", func(t *testing.T) *testproc.Systemd { return testproc.BootSystemdOf(t, tools, 253) }},
}

// unit is the fleet as a unit of systemd, as `segue generate` writes it.
type unit struct {
	*fleet
	s *testproc.Systemd
}

const fleetUnit = "fleet.service"

// install writes the units, with more added to the service's.
func install(t *testing.T, s *testproc.Systemd, more string, args ...string) unit {
	t.Helper()
	u := unit{newFleet(t), s}
	u.api = s.Path("/run/segue/fleet/api.sock")
	dir := t.TempDir()
	u.generate(append([]string{"systemd", "--file", u.file, "--output", dir}, args...)...)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if file.Name() == fleetUnit {
			more = fmt.Sprintf("\n[Service]\nEnvironment=%s\nStandardOutput=append:%s\nStandardError=inherit\n%s", quick, u.output(), more)
			text = append(text, more...)
		}
		s.Unit(file.Name(), string(text))
	}
	s.Ctl("daemon-reload")
	return u
}

// main is the supervisor's pid, as its siblings see it.
func (u unit) main() int {
	u.t.Helper()
	pid, err := strconv.Atoi(u.s.Property(fleetUnit, "MainPID"))
	if err != nil {
		u.t.Fatal(err)
	}
	return pid
}

// signal is for a process of the unit.
func (u unit) signal(pid int, sig syscall.Signal) {
	u.t.Helper()
	if pid <= 1 {
		u.t.Fatalf("there is no process: %d", pid)
	}
	if out, err := u.s.Try("kill", "-"+strconv.Itoa(int(sig)), strconv.Itoa(pid)); err != nil {
		u.t.Fatalf("kill %d: %v\n%s", pid, err, out)
	}
}

// says waits until systemctl status shows this.
func (u unit) says(what string) {
	u.t.Helper()
	testproc.Until(u.t, "systemctl status says "+what, func() bool { return strings.Contains(u.s.Property(fleetUnit, "StatusText"), what) })
}

// stop stops the unit, which must leave nothing.
func (u unit) stop(result string) {
	u.t.Helper()
	u.s.Ctl("stop", fleetUnit)
	if got := u.s.Property(fleetUnit, "Result"); got != result {
		u.t.Errorf("the unit ended with %q, want %q", got, result)
	}
	if left := u.s.Left(fleetUnit); len(left) > 0 {
		u.t.Errorf("systemctl stop has left processes %v", left)
	}
}

// again waits until systemd has started the supervisor anew, n times by now.
func (u unit) again(n int) {
	u.t.Helper()
	testproc.Until(u.t, "systemd starts the supervisor again", func() bool {
		return u.s.Property(fleetUnit, "NRestarts") == strconv.Itoa(n) && u.s.Property(fleetUnit, "SubState") == "running"
	})
	u.serve(u.main())
}

// TestFleetReload: `systemctl reload` is a restart of the services, under load,
// that ends with its result.
func TestFleetReload(t *testing.T) {
	for _, version := range systemds {
		t.Run(version.name, func(t *testing.T) {
			u := install(t, version.boot(t), "")
			u.s.Ctl("start", fleetUnit)
			if status := u.s.Property(fleetUnit, "StatusText"); status != "2 services: 2 serving" {
				t.Errorf("the unit is ready and says %q", status)
			}
			run := u.traffic()
			main, before := u.main(), u.pids()
			began := time.Now()
			u.s.Ctl("reload", fleetUnit)
			if after := u.pids(); after[0] == before[0] || after[1] == before[1] {
				t.Errorf("processes %v serve after the reload, %v before", after, before)
			}
			u.met(run, "reload", began, u.began(u.report(), handover.StepSwitch))

			u.fault("exit")
			before, began = u.pids(), time.Now()
			if out, err := u.s.Try("systemctl", "reload", fleetUnit); err == nil {
				t.Errorf("a reload to a version that cannot start succeeded: %s", out)
			}
			u.met(run, "failed reload", began, u.began(u.report(), handover.StepRollback))
			u.says("the last restart of web was rolled back")
			if after := u.pids(); after != before {
				t.Errorf("processes %v serve after a reload that failed, %v before", after, before)
			}
			if now := u.main(); now != main || u.s.Property(fleetUnit, "ActiveState") != "active" {
				t.Errorf("supervisor %d is now %d", main, now)
			}
			u.flow(run)
			if err := u.account(run).Err(); err != nil {
				t.Error(err)
			}
			u.stop("success")
		})
	}
}

// TestFleetNotifyReload: the same by a signal; systemd cannot be told how it went
// but in the status.
func TestFleetNotifyReload(t *testing.T) {
	u := install(t, testproc.BootSystemdOf(t, tools, 253), "Type=notify-reload\nReloadSignal=SIGUSR2\nExecReload=\n")
	u.s.Ctl("start", fleetUnit)
	run := u.traffic()
	before, began := u.pids(), time.Now()
	u.s.Ctl("reload", fleetUnit)
	if after := u.pids(); after[0] == before[0] || after[1] == before[1] {
		t.Errorf("processes %v serve after the reload, %v before", after, before)
	}
	u.met(run, "reload", began, u.began(u.report(), handover.StepSwitch))
	u.fault("exit")
	before = u.pids()
	u.s.Ctl("reload", fleetUnit)
	u.says("the last restart of web was rolled back")
	if after := u.pids(); after != before {
		t.Errorf("processes %v serve after a reload that failed, %v before", after, before)
	}
	u.flow(run)
	if err := u.account(run).Err(); err != nil {
		t.Error(err)
	}
	u.stop("success")
}

// TestFleetRestart: `systemctl restart` replaces the supervisor and everything
// under it. The sockets stay with systemd: clients wait, and none is refused.
func TestFleetRestart(t *testing.T) {
	for _, version := range systemds {
		t.Run(version.name, func(t *testing.T) {
			u := install(t, version.boot(t), "")
			u.s.Ctl("start", fleetUnit)
			k := knock(u.addrs["web"])
			defer k.stop()
			for n := range 2 {
				before, seen := u.pids(), k.answered.Load()
				testproc.Until(t, "clients are answered", func() bool { return k.answered.Load() > seen+100 })
				u.s.Ctl("restart", fleetUnit)
				u.serve(u.main())
				if after := u.pids(); after[0] == before[0] || after[1] == before[1] {
					t.Errorf("restart %d: processes %v serve, %v did before", n+1, after, before)
				}
			}
			k.stop()
			t.Logf("two restarts of the unit: %v", k)
			if k.refused.Load() > 0 || k.broken.Load() > 0 {
				t.Errorf("clients were refused, or cut off: %v", k)
			}
			if fds := u.s.Property(fleetUnit, "NFileDescriptorStore"); fds != "4" {
				t.Errorf("systemd keeps %s sockets, of 4", fds)
			}
			u.stop("success")
			if _, err := net.Dial("tcp", u.addrs["web"]); err == nil {
				t.Error("after a stop the socket is still there")
			}
		})
	}
}

// TestFleetSupervisorDies: killed, hung, and upgraded. The services serve on, and the
// supervisor that systemd starts next goes on with them.
func TestFleetSupervisorDies(t *testing.T) {
	u := install(t, testproc.BootSystemd(t, tools), "WatchdogSec=1\nTimeoutAbortSec=100ms\n")
	u.s.Ctl("start", fleetUnit)
	run := u.traffic()
	served := u.pids()
	same := func(when string) {
		t.Helper()
		u.flow(run)
		if now := u.pids(); now != served {
			t.Errorf("%s: processes %v serve, not %v", when, now, served)
		}
		if status := u.s.Property(fleetUnit, "StatusText"); status != "2 services: 2 serving" {
			t.Errorf("%s: the unit says %q", when, status)
		}
	}
	u.signal(u.main(), syscall.SIGKILL)
	u.again(1)
	same("after a kill")
	u.signal(u.main(), syscall.SIGSTOP)
	u.again(2)
	same("after the watchdog")

	// One that executes another in its place is the same process to systemd, whose
	// watchdog it goes on to feed.
	main := u.main()
	if out, err := u.s.Try("env", "SEGUE_RUNTIME_DIR=/run/segue", quick, u.segue, "upgrade", "--name", "fleet"); err != nil {
		t.Fatalf("segue upgrade: %v\n%s", err, out)
	}
	u.serve(main)
	for range 2 {
		fed := u.s.Property(fleetUnit, "WatchdogTimestampMonotonic")
		testproc.Until(t, "the watchdog is fed", func() bool { return u.s.Property(fleetUnit, "WatchdogTimestampMonotonic") != fed })
	}
	if now, again := u.main(), u.s.Property(fleetUnit, "NRestarts"); now != main || again != "2" {
		t.Errorf("supervisor %d was %d before it was upgraded; systemd has restarted it %s times, of 2", now, main, again)
	}
	same("after an upgrade")

	// The next one has all that it needs: the sockets, and what it adopted.
	began := time.Now()
	u.s.Ctl("reload", fleetUnit)
	u.met(run, "reload", began, u.began(u.report(), handover.StepSwitch))
	if now := u.pids(); now[0] == served[0] || now[1] == served[1] {
		t.Errorf("processes %v serve after a reload, %v before", now, served)
	}
	u.flow(run)
	if err := u.account(run).Err(); err != nil {
		t.Error(err)
	}

	// A service that crashes is the supervisor's business, and nobody else's.
	before := u.pids()
	u.signal(before[0], syscall.SIGKILL)
	u.is("web serves again", func(o client.Overview) bool {
		return o.Services[0].Crashes == 1 && o.Services[0].State == client.Serving
	})
	if after := u.pids(); after[0] == before[0] || after[1] != before[1] || u.main() != main {
		t.Errorf("processes %v serve after a crash of %d, %v before", after, before[0], before)
	}
	u.says("2 services: 2 serving")
	u.stop("success")
}

// TestFleetStop: whatever state the supervisor is in, a stop leaves nothing.
func TestFleetStop(t *testing.T) {
	u := install(t, testproc.BootSystemd(t, tools), "TimeoutStopSec=1\n")
	u.s.Ctl("start", fleetUnit)
	// A process that has left the group of its service is nobody's but systemd's.
	if out, err := u.s.Try("sh", "-c", "echo 0 >/sys/fs/cgroup/system.slice/fleet.service/cgroup.procs; setsid sleep 1000 >/dev/null 2>&1 </dev/null &"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	testproc.Until(t, "the escaped process is there", func() bool { return len(u.s.Left(fleetUnit)) == 4 })
	u.stop("success")

	// A service that takes longer than systemd waits.
	u.s.Ctl("start", fleetUnit)
	u.keepBusy()
	u.stop("timeout")

	// A supervisor that dies while it stops.
	u.s.Ctl("reset-failed")
	u.s.Ctl("start", fleetUnit)
	u.keepBusy()
	u.s.Ctl("stop", "--no-block", fleetUnit)
	testproc.Until(t, "the unit is told to stop", func() bool { return u.s.Property(fleetUnit, "ActiveState") == "deactivating" })
	u.signal(u.main(), syscall.SIGKILL)
	u.stop("signal")
}

// keepBusy has a request in flight that does not end.
func (f *fleet) keepBusy() {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.addrs["web"])
	if err == nil {
		f.t.Cleanup(func() { conn.Close() })
		_, err = io.WriteString(conn, "POST /upload HTTP/1.1\r\nHost: e2e\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
	}
	if err == nil {
		_, err = conn.Read(make([]byte, 1)) // "100 Continue": the handler waits for the rest
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// TestFleetSockets: systemd opens the sockets, and the first client starts it all.
func TestFleetSockets(t *testing.T) {
	u := install(t, testproc.BootSystemd(t, tools), "", "--sockets")
	sockets := []string{"fleet-web-web.socket", "fleet-web-tls.socket", "fleet-web-local.socket", "fleet-mail-web.socket"}
	u.s.Ctl(append([]string{"start"}, sockets...)...)
	if state := u.s.Property(fleetUnit, "ActiveState"); state != "inactive" {
		t.Fatalf("the service is %s before the first client", state)
	}
	k := knock(u.mail.addrs["web"])
	defer k.stop()
	testproc.Until(t, "the first client is answered", func() bool { return k.answered.Load() > 0 })
	u.serve(0)
	run := u.traffic()
	before := u.pids()
	u.s.Ctl("reload", fleetUnit)
	if after := u.pids(); after[0] == before[0] || after[1] == before[1] {
		t.Errorf("processes %v serve after the reload, %v before", after, before)
	}
	u.flow(run)
	if err := u.account(run).Err(); err != nil {
		t.Error(err)
	}
	u.s.Ctl("restart", fleetUnit)
	k.stop()
	t.Logf("from the first client to after a restart: %v", k)
	if k.refused.Load() > 0 || k.broken.Load() > 0 {
		t.Errorf("clients were refused, or cut off: %v", k)
	}
	u.s.Ctl(append([]string{"stop"}, sockets...)...)
	u.stop("success")
}
