package cli

import (
	"context"

	"github.com/segue-go/segue/client"
	"github.com/spf13/cobra"
)

func (c *cli) startCmd() *cobra.Command {
	return c.remote(&cobra.Command{
		Use:   "start [SERVICE]",
		Short: "Start a service that does not run",
		Long: `start starts a service that was stopped, that has failed, or that has
"autostart: false" in segue.yaml, and returns when it serves. To start a
supervisor with its services, use "segue run".`,
		Example: `  segue start worker`,
		RunE: c.actOn(func(ctx context.Context, s *client.Client, service string, progress func(client.Event)) (client.Report, error) {
			return s.Start(ctx, service, progress)
		}),
	}, one)
}
