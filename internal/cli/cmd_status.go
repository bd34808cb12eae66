package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (c *cli) statusCmd() *cobra.Command {
	var watch bool
	cmd := c.remote(&cobra.Command{
		Use:   "status [SERVICE]",
		Short: "Show what runs",
		Long: `status shows all services in a table. Of one that is named, and when there is only
one, it shows the state, the sockets, the generations, and how the last restart
went. With --watch it goes on as things change: on a terminal it draws anew, and
otherwise writes a line for each change.`,
		Example: `  segue status
  segue status web --watch
  segue status --name shop --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, all, err := c.overview(cmd.Context())
			if err != nil {
				return err
			}
			service := strings.Join(args, "")
			found, err := services(all, service)
			if err != nil {
				return err
			}
			switch {
			case watch && !c.json && !isTerminal(c.stdout):
				return c.tell(cmd.Context(), s, service, len(found) > 1)
			case watch:
				return c.watch(cmd.Context(), s, service)
			case c.json:
				all.Services = found
				return c.writeJSON(all)
			}
			out := newScreen(c.stdout, "")
			out.print(statusLines(out.style, all, service, time.Now())...)
			return nil
		},
	}, one)
	cmd.Flags().BoolVar(&watch, "watch", false, "go on as things change")
	return cmd
}
