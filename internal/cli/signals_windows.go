package cli

import (
	"os"
	"syscall"
)

func signalMeanings() map[os.Signal]meaning {
	return map[os.Signal]meaning{os.Interrupt: toStop, syscall.SIGTERM: toStop}
}
