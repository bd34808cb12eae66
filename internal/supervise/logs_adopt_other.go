//go:build !linux

package supervise

import (
	"errors"
	"os"
)

func outputOf(int) (*os.File, error) { return nil, errors.ErrUnsupported }
