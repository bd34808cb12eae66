//go:build unix

package handover

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func processAttributes(group bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: group} }

func terminatedBy(s *os.ProcessState) syscall.Signal {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return w.Signal()
	}
	return 0
}

func signalGroup(leader int, sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("cannot signal process group %d: %v is no signal of this system", leader, sig)
	}
	// ESRCH: nobody is left.
	if err := syscall.Kill(-leader, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("cannot signal process group %d: %w", leader, err)
	}
	return nil
}

// Owns says whether pid is this process or one of the group that it leads: a
// service started by a shell script speaks from a child of the script.
func (p *Process) Owns(pid int) bool {
	if pid == p.PID {
		return true
	}
	g, err := syscall.Getpgid(pid) // of 0, as a sender in another pid namespace has it, this process's own
	return p.group && err == nil && g == p.PID
}
