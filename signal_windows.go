package segue

import (
	"os"
	"syscall"
)

func signalName(s os.Signal) string { return s.String() }

// noSignal is what Windows does not have: it never arrives.
type noSignal struct{ name string }

func (s noSignal) Signal()        {}
func (s noSignal) String() string { return s.name }

var (
	leaveSignals  = []os.Signal{os.Interrupt, syscall.SIGTERM}
	otherSignals  []os.Signal
	reloadSignal  = os.Signal(noSignal{"reload"})
	upgradeSignal = os.Signal(noSignal{"upgrade"})
	stacksSignal  = os.Signal(noSignal{"stacks"})
)
