//go:build !linux

package handover

import (
	"os"
	"syscall"
)

func asSibling(*syscall.SysProcAttr) (wait func() (*os.ProcessState, error), err error) {
	return nil, unsupported("start a sibling")
}

// awaitExit is for systems that can wait without a thread.
func awaitExit(*os.Process) error { return nil }
