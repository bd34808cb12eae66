//go:build 386 || arm

package launch

import "golang.org/x/sys/unix"

// The older calls take numbers of 16 bits (setresuid(2)).
const (
	sysSetresuid = unix.SYS_SETRESUID32
	sysSetresgid = unix.SYS_SETRESGID32
)
