package handover

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func inheritFD(fd int, name string) (*os.File, error) {
	return nil, fmt.Errorf("cannot inherit %q on Windows: %w", name, errors.ErrUnsupported)
}

func checkListening(*os.File) error { return nil }

// Dup returns a second descriptor for the socket behind c. Windows cannot pass
// one to another generation: it returns an error wrapping [errors.ErrUnsupported].
func Dup(c syscall.Conn, name string) (*os.File, error) {
	return nil, fmt.Errorf("cannot duplicate socket %q on Windows: %w", name, errors.ErrUnsupported)
}
