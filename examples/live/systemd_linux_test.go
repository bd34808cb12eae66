package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// underSystemd puts the service under a real systemd, PID 1 of private
// namespaces, with socket units. It is restarted by SIGUSR2, and the unit follows.
func underSystemd(t *testing.T, more ...string) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a private systemd needs root")
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip("SKIPPED: systemd is not installed (apt-get install systemd)")
	}
	tools, err := filepath.Abs("../../tools")
	if err != nil {
		t.Fatal(err)
	}
	// Its control group is named after the last part of the directory, and
	// t.TempDir would give every run the same.
	dir, err := os.MkdirTemp("", "systemd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	out, err := exec.Command(filepath.Join(tools, "systemd-up.sh"), dir).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd does not start: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command(filepath.Join(tools, "systemd-down.sh"), dir).CombinedOutput(); err != nil {
			t.Errorf("systemd does not end: %v\n%s", err, out)
		}
	})
	pid1 := strings.TrimSpace(string(out))
	ctl := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("nsenter", append([]string{"-t", pid1, "-m", "-p", "systemctl"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("systemctl %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	unit := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "units", name), []byte("[Unit]\nDefaultDependencies=no\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	r := newRig(t)
	t.Cleanup(func() { r.show("output") })
	r.addrs = map[string]string{"web": unusedAddr(t), "chi": unusedAddr(t), "std": "unix:" + filepath.Join(r.dir, "std.sock")}
	var sockets []string
	for name, addr := range r.addrs {
		sockets = append(sockets, "live-"+name+".socket")
		unit("live-"+name+".socket", fmt.Sprintf("[Socket]\nListenStream=%s\nFileDescriptorName=%s\nService=live.service\n",
			strings.TrimPrefix(addr, "unix:"), name))
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	unit("live.service", fmt.Sprintf("[Service]\nType=notify\nExecStart=%s\nEnvironment=%s=1\nSockets=%s\nStandardOutput=append:%s/output\nStandardError=inherit\n",
		strings.Join(append([]string{exe}, r.args(more...)...), " "), serviceEnv, strings.Join(sockets, " "), r.dir))
	ctl("daemon-reload")
	ctl(append([]string{"start"}, sockets...)...)
	ctl("start", "live.service")
	t.Cleanup(func() { ctl("stop", "live.service") })
	r.trust()

	main := func() string { return ctl("show", "-p", "MainPID", "--value", "live.service") }
	r.restart = func() {
		t.Helper()
		before := main()
		ctl("kill", "--kill-who=main", "-s", "USR2", "live.service")
		until(t, "systemd has a new main process", func() bool { return main() != before })
		until(t, "the old process has left", func() bool { return !strings.Contains(ctl("status", "live.service"), before+" ") })
	}
	return r
}

// unusedAddr is below the ports that client sockets use.
func unusedAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000))
		if ln, err := net.Listen("tcp", addr); err == nil {
			ln.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}
