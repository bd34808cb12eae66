package handover

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// moveControlSize fits the credentials and SCM_MAX_FD descriptors: what does not
// fit would be lost.
var moveControlSize = unix.CmsgSpace(unix.SizeofUcred) + unix.CmsgSpace(253*4)

// MovePair makes the two ends of the channel on which connections move: a
// SOCK_SEQPACKET socketpair, close-on-exec and non-blocking. One is for
// [NewDeparture], the other for [NewArrival]; either may be passed to another
// process before.
func MovePair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a channel to move connections: %w (raise the limit of open files, ulimit -n)", err)
	}
	for _, fd := range fds {
		// Now: a message has the credentials of its sender only if they are wanted
		// when it is sent.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
			closeAll(fds[:])
			return nil, nil, fmt.Errorf("cannot make a channel to move connections: %w", err)
		}
	}
	return os.NewFile(uintptr(fds[0]), "departure"), os.NewFile(uintptr(fds[1]), "arrival"), nil
}

// prepareMove asks for credentials, in case MovePair did not make the socket.
func prepareMove(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var opt error
	err = raw.Control(func(fd uintptr) { opt = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	return errors.Join(err, opt)
}

// raiseFileLimit lets this process have as many files as it may. The runtime has
// done it for most programs at their start, before they could lower it.
func raiseFileLimit() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("cannot read the limit of open files: %w", err)
	}
	if limit.Cur >= limit.Max {
		return nil
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("cannot raise the limit of open files: %w", err)
	}
	return nil
}

// readMove reads one datagram with its descriptors, which are close-on-exec. It
// keeps none of them when there is an error: the datagram was cut short, lost
// descriptors, or is another process's.
func readMove(c *net.UnixConn, datagram, control []byte, peer int) (int, []int, error) {
	n, oobn, flags, _, err := c.ReadMsgUnix(datagram, control)
	pid, uid, files := ancillary(control[:oobn])
	switch {
	case errors.Is(err, io.EOF) && oobn > 0:
		err = errors.New("a datagram is empty") // package net takes it for EOF, which has no credentials
	case err != nil:
	case flags&unix.MSG_TRUNC != 0:
		err = fmt.Errorf("a datagram has more than %d bytes", len(datagram)-1)
	case flags&unix.MSG_CTRUNC != 0:
		err = errors.New("descriptors were lost; raise the limit of open files (ulimit -n)")
	case uid != os.Getuid() && uid != os.Geteuid():
		err = fmt.Errorf("user %d sent it, this process is of user %d", uid, os.Getuid())
	case peer != 0 && pid != peer:
		err = fmt.Errorf("process %d sent it, not process %d", pid, peer)
	}
	if err != nil {
		closeAll(files)
		return n, nil, err
	}
	return n, files, nil
}

func writeMove(c *net.UnixConn, datagram []byte, files []int) error {
	var control []byte
	if len(files) > 0 {
		control = unix.UnixRights(files...)
	}
	_, _, err := c.WriteMsgUnix(datagram, control, nil)
	return err
}
