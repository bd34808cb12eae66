//go:build unix

package cli

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal: a terminal is what has a window size (tty_ioctl(4)); /dev/null,
// which is a character device too, has none.
func isTerminal(w io.Writer) bool {
	_, ok := windowSize(w)
	return ok
}

func terminalWidth(w io.Writer) int {
	if size, ok := windowSize(w); ok && size.Col > 0 {
		return int(size.Col)
	}
	return 80
}

func terminalHeight(w io.Writer) int {
	if size, ok := windowSize(w); ok && size.Row > 0 {
		return int(size.Row)
	}
	return 24
}

func windowSize(w io.Writer) (size *unix.Winsize, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile {
		return nil, false
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, false
	}
	raw.Control(func(fd uintptr) { size, err = unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ) })
	return size, err == nil && size != nil
}
