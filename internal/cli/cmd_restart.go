package cli

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/segue-go/segue/client"
	"github.com/spf13/cobra"
)

func (c *cli) restartCmd() *cobra.Command {
	var binary string
	cmd := c.remote(&cobra.Command{
		Use:   "restart [SERVICE...]",
		Short: "Put a new generation in the place of the one that serves",
		Long: `restart starts a new generation of a service beside the one that serves, tries
it, lets it serve, and has the old one leave when it has proven itself. Whatever
fails on the way, the old generation goes on serving.

Several services, or all of them when none is named, are restarted one after the
other, in the order in which they are started; when one does not succeed, those
after it are left as they are.

It returns when that is over: exit code 0 when the new generation serves, 3 when
everything is as before, 1 when nothing serves. To stop watching (Ctrl-C) does
not stop the restart.`,
		Example: `  segue restart
  segue restart web worker
  segue restart web --binary ./shop-2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := findBinary(binary)
			if err != nil {
				return err
			}
			s, all, err := c.overview(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				args = all.Names()
			}
			if path != "" && len(args) != 1 {
				return usage("cannot give one --binary to several services: "+strings.Join(args, ", "), "say which one: segue restart "+args[0]+" --binary "+binary)
			}
			var restarts []action
			several := len(args) > 1
			for _, service := range args {
				several = several || len(all.Of(service)) > 1
				restarts = append(restarts, func(ctx context.Context, s *client.Client, progress func(client.Event)) (client.Report, error) {
					return s.Restart(ctx, service, client.RestartRequest{Binary: path}, progress)
				})
			}
			return c.act(cmd.Context(), s, several, restarts...)
		},
	}, anyNumber)
	cmd.Flags().StringVar(&binary, "binary", "", "`PATH` of the program of the new generation (default: the present one)")
	cmd.MarkFlagFilename("binary")
	return cmd
}

// findBinary makes path one that means the same to the supervisor, which runs
// elsewhere. A name without a slash is looked up here if that succeeds.
func findBinary(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if !strings.ContainsAny(path, `/\`) {
		found, err := exec.LookPath(path)
		if err != nil {
			return path, nil // the supervisor says why not
		}
		path = found
	}
	return filepath.Abs(path)
}
