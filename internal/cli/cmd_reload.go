package cli

import (
	"context"
	"strings"

	"github.com/segue-go/segue/client"
	"github.com/spf13/cobra"
)

func (c *cli) reloadCmd() *cobra.Command {
	return c.remote(&cobra.Command{
		Use:   "reload [SERVICE]",
		Short: "Apply a changed segue.yaml, or have a service read its configuration",
		Long: `reload reads segue.yaml again and applies what has changed: a service that is
different is replaced as by "segue restart", a new one is started, one that is not
there any more is stopped, and the others are not touched. A file that cannot be
used changes nothing ("segue check" says why). Exit code 3 means that everything
is as before.

With the name of a service, and when there is no segue.yaml, it has that service
read its own configuration again.`,
		Example: `  segue reload
  segue reload web`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, all, err := c.overview(cmd.Context())
			if err != nil {
				return err
			}
			service := strings.Join(args, "")
			return c.act(cmd.Context(), s, len(all.Of(service)) > 1, func(ctx context.Context, s *client.Client, progress func(client.Event)) (client.Report, error) {
				return s.Reload(ctx, service, progress)
			})
		},
	}, one)
}
