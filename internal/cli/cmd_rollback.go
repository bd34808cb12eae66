package cli

import (
	"context"

	"github.com/segue-go/segue/client"
	"github.com/spf13/cobra"
)

func (c *cli) rollbackCmd() *cobra.Command {
	return c.remote(&cobra.Command{
		Use:   "rollback [SERVICE]",
		Short: "Go back to the generation before",
		Long: `rollback restarts a service with the binary and the environment of the generation
before, which "segue status" shows as the previous one. It goes like any restart:
when the old binary fails too, what serves now goes on serving (exit code 3). A
second rollback undoes the first.`,
		Example: `  segue rollback
  segue rollback web`,
		RunE: c.actOn(func(ctx context.Context, s *client.Client, service string, progress func(client.Event)) (client.Report, error) {
			return s.Rollback(ctx, service, progress)
		}),
	}, one)
}
