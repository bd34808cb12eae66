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
	var info windows.ConsoleScreenBufferInfo
	if f, ok := w.(*os.File); ok && windows.GetConsoleScreenBufferInfo(windows.Handle(f.Fd()), &info) == nil {
		return int(info.Window.Right-info.Window.Left) + 1
	}
	return 80
}
