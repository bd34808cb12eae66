package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// output measures what the supervisor does while a service writes: the service writes
// to its file by itself, so that nothing comes by.
func (b *bench) output() error {
	for _, c := range []struct{ what, logs, target string }{
		{"never archived", "{size: unlimited}", ""},
		{"archived every 8 MB, not compressed", "{size: 8MB, keep: 3, compress: false}", ""},
		{"archived every 8 MB, compressed", "{size: 8MB, keep: 3}", ""},
	} {
		if err := b.outputWith(c.what, c.logs); err != nil {
			return err
		}
	}
	b.note("A service writes to its file by itself: capturing costs the supervisor nothing. What is measured is that `segue run` reads the file to show it on its own standard output, and the archives.")
	return nil
}

func (b *bench) outputWith(what, logs string) error {
	dir, err := os.MkdirTemp(b.dir, "output")
	if err != nil {
		return err
	}
	took := filepath.Join(dir, "took")
	cmd, err := b.supervised(dir, fmt.Sprintf("  web:\n    command: [%s]\n    env: {%s: write, %s: %s}\n    speaks: systemd\n    logs: %s\n", b.exe, envService, envAddr, took, logs))
	if err != nil {
		return err
	}
	defer end(cmd)
	if err := b.serving(dir, 1); err != nil {
		return err
	}
	pid, err := child(cmd.Process.Pid)
	if err != nil {
		return err
	}
	before, err := usageOf(cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
		return err
	}
	if err := b.until("it has written", func() bool { _, err := os.Stat(took); return err == nil }); err != nil {
		return err
	}
	var after usage
	for last := int64(-1); after.ran != last || last < 0; { // what is behind catches up
		last = after.ran
		if err := b.pause(3 * time.Second); err != nil {
			return err
		}
		if after, err = usageOf(cmd.Process.Pid); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(took)
	if err != nil {
		return err
	}
	wrote, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("Processor time of the supervisor, %d MB of output, %s", written>>20, what), "", false, "%s; the service wrote it in %s", ms(time.Duration(after.ran-before.ran)), ms(wrote))
	return nil
}

// child is the only one that a process has.
func child(pid int) (int, error) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		for _, field := range strings.Fields(string(text)) {
			return strconv.Atoi(field)
		}
	}
	return 0, fmt.Errorf("process %d has no child", pid)
}
