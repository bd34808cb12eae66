//go:build unix

package segue

import (
	"os"
	"syscall"
)

var (
	leaveSignals  = []os.Signal{syscall.SIGTERM, syscall.SIGINT}
	otherSignals  = []os.Signal{syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGQUIT}
	reloadSignal  = os.Signal(syscall.SIGHUP)
	upgradeSignal = os.Signal(syscall.SIGUSR2)
	stacksSignal  = os.Signal(syscall.SIGQUIT)
)
