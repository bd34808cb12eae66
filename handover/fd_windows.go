package handover

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func adopt(fd int, name string) *os.File { return os.NewFile(uintptr(fd), name) }

// Dup returns a second descriptor for the socket behind c. Windows cannot pass
// one to another generation: it returns an error wrapping [errors.ErrUnsupported].
func Dup(c syscall.Conn, name string) (*os.File, error) {
	return nil, fmt.Errorf("cannot duplicate socket %q on Windows: %w", name, errors.ErrUnsupported)
}
