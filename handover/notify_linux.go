package handover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// NotifyListener receives what services say over NOTIFY_SOCKET.
type NotifyListener struct {
	conn *net.UnixConn
	path string
}

// ListenNotify opens a notify socket at path with mode 0600. A socket file left
// by a dead process is replaced; the caller makes sure that nobody lives there.
func ListenNotify(path string) (*NotifyListener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("cannot open the notify socket %s: %w", path, err)
	}
	l := &NotifyListener{conn: conn, path: path}
	if err := l.prepare(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot prepare the notify socket %s: %w", path, err)
	}
	return l, nil
}

func (l *NotifyListener) prepare() error {
	if err := os.Chmod(l.path, 0o600); err != nil {
		return err
	}
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	var opt error
	err = raw.Control(func(fd uintptr) { opt = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	return errors.Join(err, opt)
}

// NotifyFrom goes on with a notify socket that another process has opened at path, or
// this program before it was executed anew: what was said meanwhile is there. f is of
// [NotifyListener.File], and belongs to the listener from now on.
func NotifyFrom(f *os.File, path string) (*NotifyListener, error) {
	defer f.Close()
	any, err := net.FilePacketConn(f)
	if err != nil {
		return nil, fmt.Errorf("cannot go on with the notify socket %s: %w", path, err)
	}
	conn, ok := any.(*net.UnixConn)
	if !ok || conn.LocalAddr().Network() != "unixgram" {
		any.Close()
		return nil, fmt.Errorf("cannot go on with the notify socket %s: the descriptor is a socket of another kind", path)
	}
	return &NotifyListener{conn: conn, path: path}, nil // it says who sends, since the description is the same
}

// File is a duplicate of the socket, for [NotifyFrom] in another process. Closing it
// does not remove the path.
func (l *NotifyListener) File() (*os.File, error) { return Dup(l.conn, "notify") }

// Chown gives the socket to the user of the services, who may be another than this
// process's.
func (l *NotifyListener) Chown(uid, gid int) error { return chownSocket(l.path, uid, gid) }

// Path is what services get as NOTIFY_SOCKET.
func (l *NotifyListener) Path() string { return l.path }

// Receive returns the next notification. An error that [ErrMalformed] matches
// is about one datagram, whose sender is in the notification, and Receive can
// be called again; any other error is final. It is for one goroutine.
func (l *NotifyListener) Receive() (Notification, error) {
	buf := make([]byte, maxNotification+1)
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(16*4))
	size, oobSize, flags, _, err := l.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return Notification{}, err
	}
	var n Notification
	var files []int
	n.PID, n.UID, files = ancillary(oob[:oobSize])
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("cannot read a notification: it was cut short")
	} else {
		n.Values, err = parseNotification(buf[:size])
	}
	// The sender waits until every copy of the descriptor is closed
	// (sd_notify_barrier(3)); descriptors for anything else are not kept.
	if err == nil && n.Values["BARRIER"] == "1" {
		n.done = sync.OnceFunc(func() { closeAll(files) })
	} else {
		closeAll(files)
	}
	if err != nil {
		return n, malformed{err}
	}
	return n, nil
}

// Close ends Receive and removes the socket.
func (l *NotifyListener) Close() error {
	return errors.Join(l.conn.Close(), os.Remove(l.path))
}

// Barrier returns when the supervisor has processed everything sent before
// (sd_notify_barrier(3)): it passes the writing end of a pipe and waits until
// every copy is closed. One that dies with notifications unread closes it too.
func (n *Notifier) Barrier(ctx context.Context) error {
	if n == nil || n.path == "" {
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot wait for the supervisor: %w", err)
	}
	defer r.Close()
	err = n.SendFile(w, "BARRIER=1")
	w.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := r.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("cannot wait for the supervisor to process notifications: %w", context.Cause(ctx))
	}
	return nil
}

// SendFile is Send with a descriptor, of which the supervisor gets a copy:
// FDSTORE=1 in sd_pid_notify_with_fds(3).
func (n *Notifier) SendFile(f *os.File, assignments ...string) error {
	if n == nil || n.path == "" {
		return nil
	}
	message := []byte(strings.Join(assignments, "\n"))
	return n.write(func(c *net.UnixConn) error {
		raw, err := f.SyscallConn()
		if err != nil {
			return err
		}
		to, err := c.SyscallConn()
		if err != nil {
			return err
		}
		// sendmsg(2) itself: package net refuses control data on a connected
		// datagram socket (ErrWriteToConnected).
		var sendErr error
		err = raw.Control(func(fd uintptr) {
			err := to.Write(func(socket uintptr) bool {
				sendErr = unix.Sendmsg(int(socket), message, unix.UnixRights(int(fd)), nil, unix.MSG_NOSIGNAL)
				return !errors.Is(sendErr, unix.EAGAIN)
			})
			sendErr = errors.Join(sendErr, err)
		})
		return errors.Join(err, sendErr)
	})
}

// removeStale deletes a socket file that a dead process left. Anything that is
// not a socket is not ours to delete.
func removeStale(path string) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("cannot open a socket at %s: the path has %d bytes, at most %d are possible; choose a shorter directory with SEGUE_RUNTIME_DIR", path, len(path), maxSocketPath)
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		err = errors.New("a file that is not a socket is in the way; move it away")
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return fmt.Errorf("cannot open a socket at %s: %w", path, err)
	}
	return nil
}

// ancillary takes sender and descriptors out of control data. What cannot be
// read counts as absent: uid -1 is nobody.
func ancillary(oob []byte) (pid, uid int, files []int) {
	uid = -1
	messages, _ := unix.ParseSocketControlMessage(oob)
	for _, m := range messages {
		if c, err := unix.ParseUnixCredentials(&m); err == nil {
			pid, uid = int(c.Pid), int(c.Uid)
		} else if fds, err := unix.ParseUnixRights(&m); err == nil {
			files = append(files, fds...)
		}
	}
	return pid, uid, files
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
