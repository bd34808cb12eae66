package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segue-go/segue/internal/testproc"
)

// underSystemd puts the service under a real systemd, PID 1 of private
// namespaces, with socket units. It is restarted by SIGUSR2, and the unit follows.
func underSystemd(t *testing.T, more ...string) *rig {
	t.Helper()
	s := testproc.BootSystemd(t, "../../tools")
	r := newRig(t)
	t.Cleanup(func() { r.show("output") })
	r.addrs = map[string]string{"web": testproc.UnusedAddr(t), "chi": testproc.UnusedAddr(t), "std": "unix:" + filepath.Join(r.dir, "std.sock")}
	var sockets []string
	for name, addr := range r.addrs {
		sockets = append(sockets, "live-"+name+".socket")
		s.Unit("live-"+name+".socket", fmt.Sprintf("[Socket]\nListenStream=%s\nFileDescriptorName=%s\nService=live.service\n",
			strings.TrimPrefix(addr, "unix:"), name))
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.Unit("live.service", fmt.Sprintf("[Service]\nType=notify\nExecStart=%s\nEnvironment=%s=1\nSockets=%s\nStandardOutput=append:%s/output\nStandardError=inherit\n",
		strings.Join(append([]string{exe}, r.args(more...)...), " "), serviceEnv, strings.Join(sockets, " "), r.dir))
	s.Ctl("daemon-reload")
	s.Ctl(append([]string{"start"}, sockets...)...)
	s.Ctl("start", "live.service")
	t.Cleanup(func() { s.Ctl("stop", "live.service") })
	r.trust()

	main := func() string { return s.Property("live.service", "MainPID") }
	r.restart = func() {
		t.Helper()
		before := main()
		s.Ctl("kill", "--kill-who=main", "-s", "USR2", "live.service")
		testproc.Until(t, "systemd has a new main process", func() bool { return main() != before })
		testproc.Until(t, "the old process has left", func() bool { return !strings.Contains(s.Ctl("status", "live.service"), before+" ") })
	}
	return r
}
