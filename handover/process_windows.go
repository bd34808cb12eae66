package handover

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func processAttributes(bool) *syscall.SysProcAttr { return nil }

func terminatedBy(*os.ProcessState) syscall.Signal { return 0 }

func signalGroup(leader int, sig os.Signal) error {
	return fmt.Errorf("cannot signal process group %d on Windows: %w", leader, errors.ErrUnsupported)
}

// Owns says whether pid is this process.
func (p *Process) Owns(pid int) bool { return pid == p.PID }
