package cli

import (
	"context"
	"strings"

	"github.com/segue-go/segue/client"
	"github.com/spf13/cobra"
)

func (c *cli) stopCmd() *cobra.Command {
	return c.remote(&cobra.Command{
		Use:   "stop [SERVICE]",
		Short: "Stop a service in order, or all of them and the supervisor",
		Long: `stop has a service finish what it has, waits until it has ended, and shows how it
went; "segue start" starts it again. When none is named all services are stopped,
those first that others do not depend on, and their supervisor ends. Exit code 4
means that something had to be killed.`,
		Example: `  segue stop worker
  segue stop --name shop`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, all, err := c.overview(cmd.Context())
			if err != nil {
				return err
			}
			service := strings.Join(args, "")
			return c.act(cmd.Context(), s, len(all.Of(service)) > 1, func(ctx context.Context, s *client.Client, progress func(client.Event)) (client.Report, error) {
				return s.Stop(ctx, service, progress)
			})
		},
	}, one)
}
