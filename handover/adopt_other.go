//go:build !linux

package handover

import (
	"net"
	"os"
)

// StartTime needs Linux; elsewhere the error wraps [errors.ErrUnsupported].
func StartTime(pid int) (uint64, error) { return 0, unsupported("tell processes apart") }

// Watch needs Linux; elsewhere the error wraps [errors.ErrUnsupported].
func Watch(pid int, started uint64, group bool) (*Process, error) {
	return nil, unsupported("follow a process")
}

// Borrow needs Linux; elsewhere the error wraps [errors.ErrUnsupported].
func Borrow(pid int, started uint64, name func(net.Addr) string) ([]Socket, error) {
	return nil, unsupported("borrow sockets")
}

// ControlFrom needs Linux; elsewhere the error wraps [errors.ErrUnsupported].
func ControlFrom(f *os.File, path string) (*ControlListener, error) {
	return nil, unsupported("supervise generations")
}

// File returns an error wrapping [errors.ErrUnsupported].
func (l *ControlListener) File() (*os.File, error) { return nil, unsupported("supervise generations") }

// Chown returns an error wrapping [errors.ErrUnsupported].
func (l *ControlListener) Chown(uid, gid int) error { return unsupported("supervise generations") }

// NotifyFrom needs Linux; elsewhere the error wraps [errors.ErrUnsupported].
func NotifyFrom(f *os.File, path string) (*NotifyListener, error) {
	return nil, unsupported("receive notifications")
}

// File returns an error wrapping [errors.ErrUnsupported].
func (l *NotifyListener) File() (*os.File, error) { return nil, unsupported("receive notifications") }

// Chown returns an error wrapping [errors.ErrUnsupported].
func (l *NotifyListener) Chown(uid, gid int) error { return unsupported("receive notifications") }
