package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/segue-go/segue/client"
)

// Upgrade is not possible: a process cannot become another program here.
func (s *Supervisor) Upgrade(context.Context, client.UpgradeRequest) error {
	return refusal(fmt.Errorf("cannot upgrade the supervisor in place on this system: %w", errors.ErrUnsupported))
}

// Bequeath does nothing: there is no Upgrade.
func (s *Supervisor) Bequeath(string, func() (*os.File, error)) {}
