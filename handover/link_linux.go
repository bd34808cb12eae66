package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// maxPacketFiles bounds the descriptors of one control message; SCM_MAX_FD is
// 253 (unix(7)), moved connections travel on a wire of their own.
const maxPacketFiles = 16

// ControlListener is where generations dial in.
type ControlListener struct {
	ln   *net.UnixListener
	path string
}

// ListenControl opens a control socket (SOCK_SEQPACKET) at path with mode 0600.
// A socket file left by a dead process is replaced; the caller makes sure that
// nobody lives there.
func ListenControl(path string) (*ControlListener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("cannot open the control socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("cannot protect the control socket %s: %w", path, err)
	}
	return &ControlListener{ln: ln, path: path}, nil
}

// Path is what generations get as SEGUE_CONTROL.
func (l *ControlListener) Path() string { return l.path }

// Accept waits for the next peer, with its credentials from the kernel. The
// caller decides whether it is welcome. An error that [ErrMalformed] matches
// is about one peer; any other is final.
func (l *ControlListener) Accept() (*Peer, error) {
	c, err := l.ln.AcceptUnix()
	if err != nil {
		return nil, err
	}
	p, err := newPeer(c)
	if err != nil {
		return nil, malformed{err}
	}
	return p, nil
}

// Close ends Accept and removes the socket. Links that exist go on.
func (l *ControlListener) Close() error { return l.ln.Close() }

// DialControl reaches the supervisor behind SEGUE_CONTROL. It is refused when
// another user than this process's or root's is there.
func DialControl(ctx context.Context, path string) (*Peer, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unixpacket", path)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the supervisor at %s: %w", path, err)
	}
	p, err := newPeer(c.(*net.UnixConn))
	if err != nil {
		return nil, err
	}
	if p.UID != 0 && p.UID != os.Geteuid() {
		p.Close()
		return nil, fmt.Errorf("cannot trust the supervisor at %s: it runs as user %d, this process as %d", path, p.UID, os.Geteuid())
	}
	return p, nil
}

func newPeer(c *net.UnixConn) (*Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("cannot ask who is at the control socket: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err == nil {
		err = credErr
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("cannot ask who is at the control socket: %w", err)
	}
	return &Peer{PID: int(cred.Pid), UID: int(cred.Uid), conn: c}, nil
}

// readPacket reads one datagram with its descriptors. A datagram that was cut
// short, or that lost descriptors because this process is at its limit of open
// files, is an error (MSG_TRUNC, MSG_CTRUNC in recvmsg(2)).
func readPacket(c *net.UnixConn, buf []byte) (int, []*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(maxPacketFiles*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return 0, nil, err
	}
	if n == 0 && oobn == 0 {
		return 0, nil, io.EOF
	}
	_, _, fds := ancillary(oob[:oobn])
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		closeAll(fds)
		return 0, nil, errors.New("a control message was cut short; raise the limit of open files (ulimit -n)")
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = adopt(fd, "passed")
	}
	return n, files, nil
}

// writeTimeout bounds a send to a peer that has stopped reading: about a
// hundred messages fit in its buffer before this matters.
const writeTimeout = 5 * time.Second

func writePacket(c *net.UnixConn, data []byte, files []*os.File) error {
	if len(files) > maxPacketFiles {
		return fmt.Errorf("%d descriptors, at most %d travel with one message", len(files), maxPacketFiles)
	}
	fds := make([]int, len(files))
	for i, f := range files {
		raw, err := f.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { fds[i] = int(fd) })
		}
		if err != nil {
			return err
		}
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	c.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, _, err := c.WriteMsgUnix(data, oob, nil)
	runtime.KeepAlive(files)
	return err
}
