//go:build !unix

package manifest

import "syscall"

// signals are those that may ask a program to stop.
var signals = map[string]syscall.Signal{
	"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "HUP": syscall.SIGHUP,
}
