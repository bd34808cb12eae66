//go:build !linux

package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
)

func unsupported(what string) error {
	return fmt.Errorf("cannot %s on %s: Segue hands over on Linux only (%w)", what, runtime.GOOS, errors.ErrUnsupported)
}

// NotifyListener receives what services say over NOTIFY_SOCKET; Linux only.
type NotifyListener struct{}

// ListenNotify needs Linux; elsewhere the error wraps [errors.ErrUnsupported].
func ListenNotify(path string) (*NotifyListener, error) {
	return nil, unsupported("receive notifications")
}

// Path is empty here.
func (l *NotifyListener) Path() string { return "" }

// Receive returns an error wrapping [errors.ErrUnsupported].
func (l *NotifyListener) Receive() (Notification, error) {
	return Notification{}, unsupported("receive notifications")
}

// Close does nothing here.
func (l *NotifyListener) Close() error { return nil }

// Barrier does nothing here: only systemd has barriers.
func (n *Notifier) Barrier(ctx context.Context) error { return nil }

// SendFile needs Linux; elsewhere the error wraps [errors.ErrUnsupported], unless
// nobody listens.
func (n *Notifier) SendFile(f *os.File, assignments ...string) error {
	if n == nil || n.path == "" {
		return nil
	}
	return unsupported("pass descriptors to the supervisor")
}

// ControlListener is where generations dial in; Linux only.
type ControlListener struct{}

// ListenControl needs Linux; elsewhere the error wraps [errors.ErrUnsupported].
func ListenControl(path string) (*ControlListener, error) {
	return nil, unsupported("supervise generations")
}

// Path is empty here.
func (l *ControlListener) Path() string { return "" }

// Accept returns an error wrapping [errors.ErrUnsupported].
func (l *ControlListener) Accept() (*Peer, error) { return nil, unsupported("supervise generations") }

// Close does nothing here.
func (l *ControlListener) Close() error { return nil }

// DialControl needs Linux; elsewhere the error wraps [errors.ErrUnsupported].
func DialControl(ctx context.Context, path string) (*Peer, error) {
	return nil, unsupported("reach a supervisor")
}

func readPacket(c *net.UnixConn, buf []byte) (int, []*os.File, error) {
	return 0, nil, unsupported("read control messages")
}

func writePacket(c *net.UnixConn, data []byte, files []*os.File) error {
	return unsupported("send control messages")
}

// NewSoloLock needs Linux; elsewhere the error wraps [errors.ErrUnsupported].
func NewSoloLock() (*os.File, error) { return nil, unsupported("serialise solo tasks") }

func reopen(f *os.File) (*os.File, error) { return nil, unsupported("serialise solo tasks") }
func tryLock(f *os.File) (bool, error)    { return false, unsupported("serialise solo tasks") }

// MovePair needs Linux; elsewhere the error wraps [errors.ErrUnsupported].
func MovePair() (a, b *os.File, err error) { return nil, nil, unsupported("move connections") }

const moveControlSize = 0

func prepareMove(*net.UnixConn) error { return unsupported("move connections") }
func raiseFileLimit() error           { return unsupported("move connections") }
func closeAll([]int)                  {}

func readMove(*net.UnixConn, []byte, []byte, int) (int, []int, error) {
	return 0, nil, unsupported("move connections")
}

func writeMove(*net.UnixConn, []byte, []int) error { return unsupported("move connections") }
