//go:build unix

package cli

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalName is SIGTERM, not "terminated".
func signalName(s os.Signal) string { return unix.SignalName(s.(syscall.Signal)) }

// signalMeanings: SIGPIPE is listened to so that a reader of the output who
// leaves does not end the supervisor (os/signal, "SIGPIPE").
func signalMeanings() map[os.Signal]meaning {
	return map[os.Signal]meaning{
		syscall.SIGINT:  toStop,
		syscall.SIGTERM: toStop,
		syscall.SIGHUP:  toReload,
		syscall.SIGUSR2: toRestart,
		syscall.SIGPIPE: nothing,
	}
}
