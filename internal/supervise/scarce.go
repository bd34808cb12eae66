package supervise

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// scarce is err, with what to raise when this process has no descriptor left.
func scarce(err error) error {
	if !errors.Is(err, syscall.EMFILE) || strings.Contains(err.Error(), "raise the limit") {
		return err
	}
	return fmt.Errorf("%w; raise the limit of open files (ulimit -n, LimitNOFILE= under systemd)", err)
}
