//go:build !linux

package launch

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/segue-go/segue/handover"
)

func supported() error {
	return fmt.Errorf("cannot give a program a user, limits, an umask or LISTEN_PID on %s: that needs Linux (%w); leave them out", runtime.GOOS, errors.ErrUnsupported)
}

func limitOf(string, Limit) (limit, error) { return limit{}, nil }

func (a account) permitted() (*account, error) { return nil, nil }

func (i instruction) start(handover.Command) (*handover.Process, error) { return nil, supported() }

// Main does nothing here: there are no launches.
func Main() {}
