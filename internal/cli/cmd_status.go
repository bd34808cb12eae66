package cli

import (
	"time"

	"github.com/spf13/cobra"
)

func (c *cli) statusCmd() *cobra.Command {
	return c.remote(&cobra.Command{
		Use:   "status",
		Short: "Show what runs",
		Long: `status shows the state of a service, its sockets, its generations, and how the
last restart went.`,
		Example: `  segue status
  segue status --name shop --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			supervisor, err := c.supervisor()
			if err != nil {
				return err
			}
			s, err := supervisor.Overview(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return c.writeJSON(s)
			}
			out := newScreen(c.stdout, "")
			out.print(statusLines(out.style, s, time.Now())...)
			return nil
		},
	})
}
