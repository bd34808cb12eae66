package cli

import (
	"os"
	"syscall"
)

func signalName(s os.Signal) string { return s.String() }

func signalMeanings() map[os.Signal]meaning {
	return map[os.Signal]meaning{os.Interrupt: toStop, syscall.SIGTERM: toStop}
}
