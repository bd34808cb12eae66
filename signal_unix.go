//go:build unix

package segue

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalName is the name people know: SIGUSR2, not "user defined signal 2".
func signalName(s os.Signal) string {
	if n, ok := s.(syscall.Signal); ok && unix.SignalName(n) != "" {
		return unix.SignalName(n)
	}
	return s.String()
}

var (
	leaveSignals  = []os.Signal{syscall.SIGTERM, syscall.SIGINT}
	otherSignals  = []os.Signal{syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGQUIT}
	reloadSignal  = os.Signal(syscall.SIGHUP)
	upgradeSignal = os.Signal(syscall.SIGUSR2)
	stacksSignal  = os.Signal(syscall.SIGQUIT)
)
