package supervise

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// journalSocket is where journald takes output.
var journalSocket = "/run/systemd/journal/stdout"

// journalPatience is how long it may take to be connected.
const journalPatience = 5 * time.Second

// openJournal is a stream to journald, of one service: what is written to it is
// lines, each an entry. The protocol is that of sd_journal_stream_fd(3): first a
// header of seven lines. The socket blocks, as a program expects of its output.
func openJournal(service string) (*os.File, error) {
	cannot := func(err error) error {
		return fmt.Errorf("cannot write to the journal: %w; is systemd-journald running?", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, cannot(err)
	}
	f := os.NewFile(uintptr(fd), "journal")
	header := service + "\n" + // SYSLOG_IDENTIFIER
		"\n" + // unit: that of the process that writes
		"6\n" + // priority: info, unless
		"1\n" + // a line begins with its own, as in <3>
		"0\n0\n0\n" // to syslog, kmsg, console: what journald.conf says
	// A journald that hangs must not keep a service down.
	patience, none := unix.NsecToTimeval(int64(journalPatience)), unix.Timeval{}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20) // as systemd does; no more than is allowed
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: journalSocket})
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &none)
	if err == nil {
		err = unix.Shutdown(fd, unix.SHUT_RD)
	}
	if err == nil {
		_, err = f.WriteString(header)
	}
	if err != nil {
		f.Close()
		return nil, cannot(err)
	}
	return f, nil
}
