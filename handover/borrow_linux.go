package handover

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Borrow takes duplicates of the listening sockets of a process that does not answer
// LEND (pidfd_getfd(2)). name says what each is to be called; the empty name leaves it
// alone. The process notices nothing: not even the blocking mode of its sockets changes.
// The caller owns what is returned; nothing is, with an error. [ErrProcessGone] matches
// as in [Watch].
func Borrow(pid int, started uint64, name func(net.Addr) string) (all []Socket, err error) {
	defer func() {
		if err != nil {
			closeSockets(all)
			all = nil
			err = fmt.Errorf("cannot borrow the sockets of process %d: %w%s", pid, err, borrowHint(err))
		}
	}()
	process, err := find(pid, started)
	if err != nil {
		return nil, err
	}
	defer process.Release()
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{} // a socket may have several descriptors
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		link, err := os.Readlink(dir + e.Name())
		if err != nil || !strings.HasPrefix(link, "socket:") || seen[link] {
			continue // closed meanwhile, or of no interest
		}
		seen[link] = true
		f, err := borrowFile(process, fd)
		if errors.Is(err, unix.EBADF) {
			continue // closed meanwhile
		}
		if err != nil {
			return all, err
		}
		n := ""
		if addr := listeningAt(f); addr != nil {
			n = name(addr)
		}
		if n == "" {
			f.Close()
			continue
		}
		all = append(all, Socket{Name: n, File: f})
	}
	return all, nil
}

func borrowFile(process *os.Process, fd int) (*os.File, error) {
	var mine int
	var failed error
	err := process.WithHandle(func(pidfd uintptr) { mine, failed = unix.PidfdGetfd(int(pidfd), fd, 0) })
	if errors.Is(failed, unix.ESRCH) {
		failed = ErrProcessGone
	}
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(mine), "borrowed"), nil
}

// listeningAt is nil when f is not a stream socket that listens, by TCP or a unix path.
func listeningAt(f *os.File) (addr net.Addr) {
	if checkListening(f) != nil {
		return nil
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	raw.Control(func(fd uintptr) {
		if kind, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
			return
		}
		at, err := unix.Getsockname(int(fd))
		if err != nil {
			return
		}
		switch at := at.(type) {
		case *unix.SockaddrInet4:
			addr = &net.TCPAddr{IP: at.Addr[:], Port: at.Port}
		case *unix.SockaddrInet6:
			addr = &net.TCPAddr{IP: at.Addr[:], Port: at.Port}
			if i, err := net.InterfaceByIndex(int(at.ZoneId)); at.ZoneId != 0 && err == nil {
				addr.(*net.TCPAddr).Zone = i.Name
			}
		case *unix.SockaddrUnix:
			addr = &net.UnixAddr{Name: at.Name, Net: "unix"}
		}
	})
	return addr
}

// borrowHint says what stands in the way; see ptrace(2) for who may.
func borrowHint(err error) string {
	switch {
	case errors.Is(err, unix.ENOSYS):
		return "; it takes Linux 5.6 or later"
	case !errors.Is(err, fs.ErrPermission):
		return ""
	}
	if data, _ := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); len(data) > 0 && data[0] > '0' {
		return fmt.Sprintf("; kernel.yama.ptrace_scope is %c: run the supervisor as root with CAP_SYS_PTRACE, or set it to 0 (sysctl)", data[0])
	}
	return "; it takes the same user, or root with CAP_SYS_PTRACE"
}
