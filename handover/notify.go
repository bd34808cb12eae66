package handover

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// Notifier tells a supervisor about this process over NOTIFY_SOCKET
// (sd_notify(3)). The zero value and nil tell nobody and succeed. Safe for
// concurrent use.
type Notifier struct {
	path string
	mu   sync.Mutex
	conn *net.UnixConn
}

// NewNotifier takes the value of NOTIFY_SOCKET; "" tells nobody.
func NewNotifier(socket string) *Notifier { return &Notifier{path: socket} }

// Send sends assignments such as "READY=1" as one datagram. It does not wait
// for them to be processed: see Barrier. A supervisor that reads nothing for
// five seconds is an error; one that was replaced is found again.
func (n *Notifier) Send(assignments ...string) error {
	if n == nil || n.path == "" {
		return nil
	}
	return n.write(func(c *net.UnixConn) error {
		_, err := c.Write([]byte(strings.Join(assignments, "\n")))
		return err
	})
}

// write sends one datagram, at a second attempt over a new connection: the
// socket of a supervisor that was replaced is another one with the same path.
func (n *Notifier) write(send func(*net.UnixConn) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for again := n.conn != nil; ; again = false {
		if err := n.dial(); err != nil {
			return err
		}
		n.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		err := send(n.conn)
		if err == nil {
			return nil
		}
		if again && !errors.Is(err, os.ErrDeadlineExceeded) {
			n.conn.Close()
			n.conn = nil
			continue
		}
		return fmt.Errorf("cannot notify the supervisor over %s: %w", n.path, err)
	}
}

// dial connects on first use; the caller holds mu. A leading '@' is an
// abstract address, which package net understands.
func (n *Notifier) dial() error {
	if n.conn != nil {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("cannot reach the supervisor's notify socket %s: %w", n.path, err)
	}
	n.conn = c
	return nil
}

// Close releases the socket. The notifier can be used again.
func (n *Notifier) Close() error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn == nil {
		return nil
	}
	err := n.conn.Close()
	n.conn = nil
	return err
}

// Notification is one datagram from a service: assignments, and who sent them
// as the kernel says.
type Notification struct {
	Values map[string]string
	PID    int
	UID    int
	done   func() // closes the descriptor of a BARRIER=1, once
}

// Processed says that this notification has been acted upon: a sender that
// waits at a barrier goes on. Call it for every notification, also one that is
// refused: it releases the descriptor that came along.
func (n Notification) Processed() {
	if n.done != nil {
		n.done()
	}
}

// maxNotification is systemd's own limit for one datagram (NOTIFY_BUFFER_MAX).
const maxNotification = 4096

// parseNotification reads newline-separated assignments. Of a key that stands
// twice the last counts; unknown keys are kept. It is as lenient as systemd, for
// which these programs were written: a NUL at the very end and lines that are
// not assignments are passed over.
func parseNotification(data []byte) (map[string]string, error) {
	if len(data) > maxNotification {
		return nil, fmt.Errorf("cannot read a notification of more than %d bytes", maxNotification)
	}
	data = bytes.TrimSuffix(data, []byte{0})
	if bytes.IndexByte(data, 0) >= 0 {
		return nil, errors.New("cannot read a notification: it has a NUL byte in it")
	}
	values := map[string]string{}
	for line := range strings.SplitSeq(string(data), "\n") {
		if k, v, ok := strings.Cut(line, "="); ok && validKey(k) {
			values[k] = v
		}
	}
	if len(values) == 0 {
		return nil, errors.New("cannot read a notification: it has no assignment")
	}
	return values, nil
}

// ErrMalformed matches an error about one message from outside that could not
// be understood; what received it goes on.
var ErrMalformed = errors.New("malformed message")

type malformed struct{ error }

func (malformed) Is(target error) bool { return target == ErrMalformed }
func (m malformed) Unwrap() error      { return m.error }
