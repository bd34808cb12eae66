//go:build !linux

package handover

import "syscall"

func asSibling(*syscall.SysProcAttr) (wait func() error, err error) {
	return nil, unsupported("start a sibling")
}
