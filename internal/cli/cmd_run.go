package cli

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/spf13/cobra"
)

func (c *cli) runCmd() *cobra.Command {
	var config supervise.Member
	var plan supervise.Plan
	var listen listenFlag
	var env envFlag
	var probe probeFlag
	cmd := &cobra.Command{
		Use:   "run [flags] -- PROGRAM [ARGUMENT...]",
		Short: "Start a service and supervise it",
		Long: `run opens the sockets of a service, starts it and stays: a crash is followed by
a new start, and "segue restart" replaces the service without losing a request.

What happens is told on standard error, what the service writes appears on
standard output. Ctrl-C or SIGTERM stops in order, a second one at once; SIGUSR2
restarts; SIGHUP has the service read its configuration again. As PID 1 of a
container, run exits with the exit code of the service.`,
		Example: `  segue run --listen web=:8080 -- ./shop
  segue run --name shop --listen web=:8080 --listen admin=unix:/run/shop.sock --probe web=/healthz -- ./shop --config shop.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("segue run does not know what to run", "write the program after --, as in: segue run -- ./shop")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			config.Argv, config.Listen, config.Env = args, listen, env
			if probe.probe != nil {
				config.Probes = []supervise.Probe{*probe.probe}
			}
			if config.Name == "" {
				config.Name = nameOf(args[0])
			}
			plan.Name, plan.Dir, plan.Version = config.Name, filepath.Join(runtimeDir(), config.Name), version()
			config.RuntimeDir = plan.Dir
			plan.Services = []supervise.Member{config}
			return c.run(cmd.Context(), plan)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the program is the program's
	f.StringVar(&config.Name, "name", "", "`NAME` of the service (default: that of the program)")
	f.Var(&listen, "listen", "open a socket and pass it to the service by name; ADDR is host:port, :port or unix:/path (repeatable)")
	f.StringVar(&config.Dir, "dir", "", "`DIRECTORY` to run the service in")
	f.Var(&env, "env", "set a variable in the environment of the service (repeatable)")
	f.DurationVar(&config.ReadyTimeout, "ready-timeout", handover.DefaultReadyTimeout, "`TIME` a new generation may take to become ready")
	f.DurationVar(&config.Trial, "trial", handover.DefaultTrial, "`TIME` for which a new generation is tried before it serves")
	f.DurationVar(&config.Probation, "probation", handover.DefaultProbation, "`TIME` for which the old generation can take the service back")
	f.DurationVar(&config.DrainTimeout, "drain-timeout", supervise.DefaultDrainTimeout, "`TIME` the old generation may take to finish")
	f.Var(&probe, "probe", "a page that a new generation must answer with a status below 400; NAME is the socket's")
	cmd.MarkFlagDirname("dir")
	return cmd
}

// nameOf is the name of a service whose program is at path: what can be in a
// name stays, the rest becomes '-'.
func nameOf(path string) string {
	base := strings.TrimSuffix(strings.ToLower(filepath.Base(path)), ".exe")
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, base)
	return strings.TrimLeft(name, "._-")
}

// run supervises until the service has ended.
func (c *cli) run(ctx context.Context, plan supervise.Plan) error {
	if err := plan.Check(); err != nil {
		return usageError{err}
	}
	supervisor, err := supervise.Open(plan)
	if err != nil {
		return err
	}
	return newRunner(c, plan, supervisor).run(ctx)
}
