//go:build unix

package subject

import (
	"syscall"
	"time"
)

// cpuTime of this process, of the kernel's work for it too.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
