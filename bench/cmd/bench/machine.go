package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// machine is where and what was measured.
type machine struct {
	Cores                         int
	Processor, System, Go, Commit string
}

func thisMachine() machine {
	m := machine{Cores: runtime.NumCPU(), Processor: runtime.GOARCH, System: runtime.GOOS, Go: runtime.Version(), Commit: "unknown"}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += " " + strings.TrimSpace(string(kernel))
	}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			m.Processor = strings.TrimSpace(v) + ", " + runtime.GOARCH
			break
		}
	}
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out))
	}
	return m
}

// load is the load average over 1, 5 and 15 minutes, where the system tells it.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(data)); err == nil && len(f) > 3 {
		return strings.Join(f[:3], " ")
	}
	return "unknown"
}
