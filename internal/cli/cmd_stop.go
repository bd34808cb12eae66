package cli

import (
	"context"

	"github.com/segue-go/segue/client"
	"github.com/spf13/cobra"
)

func (c *cli) stopCmd() *cobra.Command {
	return c.remote(&cobra.Command{
		Use:   "stop",
		Short: "Stop a service and its supervisor in order",
		Long: `stop has the service finish what it has, waits until it has ended, and shows how
it went. Exit code 4 means that it had to be killed.`,
		Example: `  segue stop --name shop`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.act(cmd.Context(), func(ctx context.Context, s *client.Client, progress func(client.Event)) (client.Report, error) {
				return s.Stop(ctx, "", progress)
			})
		},
	})
}
