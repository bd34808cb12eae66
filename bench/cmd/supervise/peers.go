package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// skipped is why something is not measured.
type skipped struct{ error }

func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// place is a directory of its own, and an address.
func (b *bench) place(name string) (dir, addr string, err error) {
	dir = filepath.Join(b.dir, name)
	if err = os.Mkdir(dir, 0o700); err == nil {
		addr, err = freeAddr()
	}
	return dir, addr, err
}

// supervised starts `segue run` on a file with these services, each a few lines
// beneath its name.
func (b *bench) supervised(dir, services string) (*exec.Cmd, error) {
	file := filepath.Join(dir, "segue.yaml")
	if err := os.WriteFile(file, []byte("version: 1\nname: bench\nservices:\n"+services), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(b.segue, "run", "--file", file)
	cmd.Env = append(os.Environ(), "SEGUE_RUNTIME_DIR="+dir)
	return cmd, b.start(dir, cmd)
}

// start starts a supervisor, whose words go into a file.
func (b *bench) start(dir string, cmd *exec.Cmd) error {
	out, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	return cmd.Start()
}

// end stops a supervisor in order.
func end(cmd *exec.Cmd) {
	cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer late.Stop()
	cmd.Wait()
}

func (b *bench) underSegue() (*peer, error) {
	dir, addr, err := b.place("segue")
	if err != nil {
		return nil, err
	}
	cmd, err := b.supervised(dir, fmt.Sprintf("  web:\n    command: [%s]\n    env: {%s: crash}\n    sockets: {web: '%s'}\n    backoff: {stable: 1s}\n", b.exe, envService, addr))
	if err != nil {
		return nil, err
	}
	return &peer{name: "segue run", addr: addr, stop: func() { end(cmd) },
		how: "`backoff: {stable: 1s}`: a service that has served for a second is started again at once (after ten by default), as by the others; it holds the socket"}, nil
}

func (b *bench) underSupervisord() (*peer, error) {
	program, err := exec.LookPath("supervisord")
	if err != nil {
		return nil, skipped{fmt.Errorf("supervisord is not measured: %w (apt-get install supervisor)", err)}
	}
	version, _ := exec.Command(program, "--version").Output()
	dir, addr, err := b.place("supervisord")
	if err != nil {
		return nil, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user=root\n"
	}
	config := filepath.Join(dir, "supervisord.conf")
	text := fmt.Sprintf("[supervisord]\n%snodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile=%s/pid\n\n[program:web]\ncommand=%s\nenvironment=%s=\"crash\",%s=\"%s\"\nautorestart=true\n",
		user, dir, b.exe, envService, envAddr, addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "-c", config)
	if err := b.start(dir, cmd); err != nil {
		return nil, err
	}
	return &peer{name: "supervisord " + strings.TrimSpace(string(version)), addr: addr, stop: func() { end(cmd) },
		how: "`autorestart=true`, defaults otherwise; the service opens its socket"}, nil
}

// systemd is a private one, as PID 1 of namespaces of its own, with one service.
func (b *bench) systemd(name, socket, service, how string) (*peer, error) {
	version, err := exec.Command("systemctl", "--version").Output()
	switch {
	case err != nil:
		return nil, skipped{fmt.Errorf("%s is not measured: systemd is not there (apt-get install systemd)", name)}
	case os.Geteuid() != 0:
		return nil, skipped{fmt.Errorf("%s is not measured: a private systemd needs root", name)}
	}
	_, addr, err := b.place(name)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "systemd-") // its control group is called so
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(filepath.Join(b.root, "tools", "systemd-up.sh"), dir).CombinedOutput()
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("systemd does not start: %w\n%s", err, out)
	}
	p := &peer{addr: addr, how: how, stop: func() {
		exec.Command(filepath.Join(b.root, "tools", "systemd-down.sh"), dir).Run()
		os.RemoveAll(dir)
	}}
	var number string
	fmt.Sscanf(string(version), "systemd %s", &number)
	p.name = strings.Replace(name, "systemd", "systemd "+number, 1)
	units := map[string]string{"web.service": fmt.Sprintf("[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0\n[Service]\nType=notify\nExecStart=%s\nEnvironment=%s=crash %s=%s\nRestart=on-failure\n%s",
		b.exe, envService, envAddr, addr, service)}
	first := "web.service"
	if socket != "" {
		units["web.socket"] = fmt.Sprintf("[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=%s\nFileDescriptorName=web\n%s", addr, socket)
		first = "web.socket"
	}
	for file, text := range units {
		err = os.WriteFile(filepath.Join(dir, "units", file), []byte(text), 0o644)
		if err != nil {
			break
		}
	}
	pid := strings.TrimSpace(string(out))
	for _, args := range [][]string{{"daemon-reload"}, {"start", first, "web.service"}} {
		if err == nil {
			out, err = exec.Command("nsenter", append([]string{"-t", pid, "-m", "-p", "systemctl"}, args...)...).CombinedOutput()
		}
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("cannot start the service under systemd: %w\n%s", err, out)
	}
	return p, nil
}

func (b *bench) underSystemdSocket() (*peer, error) {
	return b.systemd("systemd, socket unit", "TriggerLimitIntervalSec=0\n", "", "`Restart=on-failure`, defaults otherwise (`RestartSec=100ms`), no start limit; systemd holds the socket")
}

func (b *bench) underSystemd() (*peer, error) {
	return b.systemd("systemd", "", "", "the same without a socket unit; the service opens its socket")
}

func (b *bench) underSystemdAtOnce() (*peer, error) {
	return b.systemd("systemd, RestartSec=0", "", "RestartSec=0\n", "the same with `RestartSec=0`")
}
