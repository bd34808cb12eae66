package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ControlListener is where generations dial in.
type ControlListener struct {
	ln     *net.UnixListener
	path   string
	closed chan struct{}
	once   sync.Once
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
	ln.SetUnlinkOnClose(false) // Close does, also for one of ControlFrom
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		os.Remove(path)
		return nil, fmt.Errorf("cannot protect the control socket %s: %w", path, err)
	}
	return &ControlListener{ln: ln, path: path, closed: make(chan struct{})}, nil
}

// ControlFrom goes on with a control socket that another process has opened at path, or
// this program before it was executed anew: who has dialled meanwhile is there. f is of
// [ControlListener.File], and belongs to the listener from now on.
func ControlFrom(f *os.File, path string) (*ControlListener, error) {
	defer f.Close()
	err := checkListening(f)
	var any net.Listener
	if err == nil {
		any, err = net.FileListener(f)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot go on with the control socket %s: %w", path, err)
	}
	ln, ok := any.(*net.UnixListener)
	if !ok || ln.Addr().Network() != "unixpacket" {
		any.Close()
		return nil, fmt.Errorf("cannot go on with the control socket %s: the descriptor is a socket of another kind", path)
	}
	return &ControlListener{ln: ln, path: path, closed: make(chan struct{})}, nil
}

// File is a duplicate of the socket, for [ControlFrom] in another process. Closing it
// does not remove the path.
func (l *ControlListener) File() (*os.File, error) { return Dup(l.ln, "control") }

// Chown gives the socket to the user of the generations, who may be another than this
// process's.
func (l *ControlListener) Chown(uid, gid int) error { return chownSocket(l.path, uid, gid) }

func chownSocket(path string, uid, gid int) error {
	if err := os.Lchown(path, uid, gid); err != nil {
		return fmt.Errorf("cannot give the socket to user %d and group %d: %w; run the supervisor as root", uid, gid, err)
	}
	return nil
}

// Path is what generations get as SEGUE_CONTROL.
func (l *ControlListener) Path() string { return l.path }

// acceptPause is the pause after an accept(2) for which something was lacking.
const acceptPause = 100 * time.Millisecond

// Accept waits for the next peer, with its credentials from the kernel. The
// caller decides whether it is welcome. An error that [ErrMalformed] matches
// is about one peer; any other is final. Having no descriptor or memory left is
// no error: the peer waits until there is one.
func (l *ControlListener) Accept() (*Peer, error) {
	for {
		c, err := l.ln.AcceptUnix()
		switch {
		case err == nil:
			p, err := newPeer(c)
			if err != nil {
				return nil, malformed{err}
			}
			return p, nil
		case !isScarcity(err):
			return nil, err
		}
		select {
		case <-l.closed:
			return nil, net.ErrClosed
		case <-time.After(acceptPause):
		}
	}
}

// isScarcity says whether accept(2) failed for a reason that passes.
func isScarcity(err error) bool {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Close ends Accept and removes the socket. Links that exist go on.
func (l *ControlListener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.closed)
		err = os.Remove(l.path)
	})
	return errors.Join(l.ln.Close(), err)
}

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
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, credErr); err != nil {
		c.Close()
		return nil, fmt.Errorf("cannot ask who is at the control socket: %w", err)
	}
	return &Peer{PID: int(cred.Pid), UID: int(cred.Uid), conn: c}, nil
}

// readPacket reads one datagram with its descriptors. One that was cut short is
// an error (MSG_TRUNC in recvmsg(2)); of one that lost descriptors because this
// process is at its limit of open files the text is returned, with errFilesLost
// (MSG_CTRUNC).
func readPacket(c *net.UnixConn, buf []byte) (int, []*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(maxPacketFiles*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
	_, _, fds := ancillary(oob[:oobn])
	switch {
	case err == nil && n == 0:
		err = io.EOF
	case err == nil && flags&unix.MSG_TRUNC != 0:
		err = fmt.Errorf("a control message of more than %d bytes", maxMessage)
	case err == nil && flags&unix.MSG_CTRUNC != 0:
		err = errFilesLost
	}
	if err != nil {
		closeAll(fds) // an empty datagram, which is EOF to package net, can carry some
		return n, nil, err
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = adopt(fd, "passed")
	}
	return n, files, nil
}

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
