package supervise

import (
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reapOrphans is for PID 1: processes whose parents have ended become its
// children, and stay as zombies unless it waits for them; and for a program that has
// the children of another one, which was executed before in this process. It waits for each by
// its pid, and never for one that this program has started: whoever started that
// owns its exit status (a wait4(-1) would steal it).
func reapOrphans() (stop func()) {
	ended := make(chan os.Signal, 1)
	ended <- syscall.SIGCHLD // whoever has ended before
	signal.Notify(ended, syscall.SIGCHLD)
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-ended:
				offspring.strangers(children(), func(pid int) {
					var status unix.WaitStatus
					unix.Wait4(pid, &status, unix.WNOHANG, nil)
				})
			}
		}
	})
	return func() { signal.Stop(ended); close(done); running.Wait() }
}

// children are the direct children of this process (proc(5)).
func children() []int {
	var pids []int
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range files {
		data, _ := os.ReadFile(f)
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
