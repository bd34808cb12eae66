package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segue-go/segue/client"
)

// maxMemory is what the supervisor may have.
const maxMemory = 20 << 10 // KiB

// maxAwake is the part of the seconds in which a supervisor at rest may be awake at
// all: the runtime of Go looks around every minute, whatever happens.
const maxAwake = 0.05

// idling measures `segue run` while nothing happens.
func (b *bench) idling() error {
	for _, c := range []struct {
		n      int
		what   string
		speaks string
	}{
		{1, "idle", "systemd"}, {10, "idle", "systemd"}, {100, "idle", "systemd"}, {10, "crash", "segue"},
	} {
		name := fmt.Sprintf("%d idle services", c.n)
		if c.n == 1 {
			name = "1 idle service"
		}
		if c.speaks == "segue" {
			name += " that use package segue"
		}
		if err := b.idleWith(name, c.n, c.what, c.speaks); err != nil {
			return err
		}
	}
	b.note("Wake-ups are context switches of all threads of the supervisor, voluntary and not (/proc/PID/task/*/status), while nobody asks it anything. " +
		"What is left is the runtime of Go, as strace shows: its monitor looks at the limits of the processors every minute, has garbage collected two minutes after the last time, whatever happens, and gives memory back a minute after that. " +
		"PSS counts what it shares with others only in part.")
	return nil
}

func (b *bench) idleWith(name string, n int, what, speaks string) error {
	dir, err := os.MkdirTemp(b.dir, "idle")
	if err != nil {
		return err
	}
	var services strings.Builder
	for i := range n {
		fmt.Fprintf(&services, "  s%d:\n    command: [%s]\n    env: {%s: %s, %s: '127.0.0.1:0'}\n    speaks: %s\n", i, b.exe, envService, what, envAddr, speaks)
	}
	cmd, err := b.supervised(dir, services.String())
	if err != nil {
		return err
	}
	defer end(cmd)
	pid := cmd.Process.Pid
	if err := b.serving(dir, n); err != nil {
		return err
	}
	if err := b.rests(pid); err != nil {
		return err
	}
	before, err := usageOf(pid)
	if err != nil {
		return err
	}
	awake, after := 0, before
	for range int(b.idle / time.Second) {
		if err := b.pause(time.Second); err != nil {
			return err
		}
		now, err := usageOf(pid)
		if err != nil {
			return err
		}
		if now.switches != after.switches {
			awake++
		}
		after = now
	}
	woken := after.switches - before.switches
	met := float64(awake) <= maxAwake*b.idle.Seconds()
	b.row("Wake-ups of the supervisor, "+name, "asleep (in 95 of 100 seconds)", met, "%d in %v, in %d different seconds; %d threads", woken, b.idle, awake, after.threads)
	b.row("– its processor time", "", false, "%.3f ms in %v", float64(after.ran-before.ran)/1e6, b.idle)
	b.row("Memory of the supervisor, "+name, "< 20 MB", after.rss < maxMemory, "RSS %.1f MB, PSS %.1f MB", float64(after.rss)/1024, float64(after.pss)/1024)
	return nil
}

// serving waits until n services do.
func (b *bench) serving(dir string, n int) error {
	api := client.New(filepath.Join(dir, "bench", "api.sock"))
	return b.until("all services serve", func() bool {
		o, err := api.Overview(b.ctx)
		return err == nil && len(o.Services) == n && !slices.ContainsFunc(o.Services, func(s client.Status) bool { return s.State != client.Serving })
	})
}

// rests waits until what the start has left to do is over: the supervisor sleeps for
// three seconds, or a minute has passed.
func (b *bench) rests(pid int) error {
	last, quiet := usage{}, 0
	for range 60 {
		now, err := usageOf(pid)
		if err != nil {
			return err
		}
		if quiet++; now.switches != last.switches {
			quiet = 0
		}
		if last = now; quiet == 3 {
			break
		}
		if err := b.pause(time.Second); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) until(what string, ok func() bool) error {
	for began := time.Now(); !ok(); {
		if time.Since(began) > 2*patience {
			return fmt.Errorf("it never happened that %s", what)
		}
		if err := b.pause(20 * time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) pause(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
}

// usage is what a process has used (proc(5)).
type usage struct {
	switches, threads int
	ran               int64 // nanoseconds
	rss, pss          int   // KiB
}

func usageOf(pid int) (u usage, err error) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	u.threads = len(tasks)
	for _, t := range tasks {
		u.switches += field(t+"/status", "voluntary_ctxt_switches:") + field(t+"/status", "nonvoluntary_ctxt_switches:")
		if text, err := os.ReadFile(t + "/schedstat"); err == nil {
			ran, _ := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
			u.ran += ran
		}
	}
	u.rss = field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
	u.pss = field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
	if len(tasks) == 0 {
		err = fmt.Errorf("process %d has ended", pid)
	}
	return u, err
}

// field is the number after a name at the beginning of a line.
func field(file, name string) int {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	return 0
}
