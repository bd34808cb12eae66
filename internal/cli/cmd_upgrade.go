package cli

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/segue-go/segue/client"
	"github.com/spf13/cobra"
)

func (c *cli) upgradeCmd() *cobra.Command {
	var binary string
	cmd := c.remote(&cobra.Command{
		Use:   "upgrade",
		Short: "Replace the supervisor itself while its services serve",
		Long: `upgrade has the supervisor execute another segue command in its place: the
process stays, with its sockets, its services and their output. Nothing is
restarted. Use it after the segue command was updated.

It returns when the new supervisor answers. One that cannot take over is refused,
and the old one goes on.`,
		Example: `  segue upgrade
  segue upgrade --binary /usr/local/bin/segue`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := findBinary(binary)
			if err != nil {
				return err
			}
			s, all, err := c.overview(cmd.Context())
			if err != nil {
				return err
			}
			ctx, release := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer release()
			p := c.newPrinter(false, len(all.Services) > 1)
			defer p.close()
			next, err := s.Upgrade(ctx, client.UpgradeRequest{Binary: path}, p.event)
			if err != nil {
				return stoppedWatching(ctx, err)
			}
			if c.json {
				return c.writeJSON(next)
			}
			fmt.Fprintf(c.stdout, "upgraded the supervisor of %s (pid %d) from %s to %s: nothing was restarted\n", all.Name, all.PID, all.Version, next.Version)
			return nil
		},
	}, none)
	cmd.Flags().StringVar(&binary, "binary", "", "`PATH` of the segue command (default: the one that runs, as its file is now)")
	cmd.MarkFlagFilename("binary")
	return cmd
}
