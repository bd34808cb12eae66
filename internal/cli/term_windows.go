package cli

import (
	"io"
	"os"

	"golang.org/x/sys/windows"
)

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	var mode uint32
	return windows.GetConsoleMode(windows.Handle(f.Fd()), &mode) == nil && mode&windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING != 0
}

func terminalWidth(w io.Writer) int {
	if window, ok := windowOf(w); ok {
		return int(window.Right-window.Left) + 1
	}
	return 80
}

func terminalHeight(w io.Writer) int {
	if window, ok := windowOf(w); ok {
		return int(window.Bottom-window.Top) + 1
	}
	return 24
}

func windowOf(w io.Writer) (windows.SmallRect, bool) {
	var info windows.ConsoleScreenBufferInfo
	f, ok := w.(*os.File)
	ok = ok && windows.GetConsoleScreenBufferInfo(windows.Handle(f.Fd()), &info) == nil
	return info.Window, ok
}
