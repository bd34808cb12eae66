package control

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// canTellPeers: a socket that others than its owner can open is safe here.
const canTellPeers = true

// peerOf asks the kernel who has connected: who it was at that time, whatever the
// process has become since.
func peerOf(c net.Conn) (peer, error) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var who peer
	var credErr error
	if err := raw.Control(func(fd uintptr) { who, credErr = credentials(int(fd)) }); err != nil {
		return peer{}, err
	}
	return who, credErr
}

func credentials(fd int) (peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return peer{}, fmt.Errorf("SO_PEERCRED: %w", err)
	}
	groups, err := peerGroups(fd)
	if err != nil && !errors.Is(err, unix.ENOPROTOOPT) { // Linux before 4.13: the first group is all we know
		return peer{}, fmt.Errorf("SO_PEERGROUPS: %w", err)
	}
	who := peer{uid: int(cred.Uid), groups: []int{int(cred.Gid)}}
	for _, g := range groups {
		if !slices.Contains(who.groups, int(g)) {
			who.groups = append(who.groups, int(g))
		}
	}
	return who, nil
}

// peerGroups is the list of supplementary groups. The kernel says with ERANGE how
// much room it takes (net/core/sock.c, sk_getsockopt).
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno != unix.ERANGE || int(size) <= len(groups)*4:
			return nil, errno
		}
		groups = make([]uint32, size/4)
	}
}
