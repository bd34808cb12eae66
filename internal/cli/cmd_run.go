package cli

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/manifest"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/spf13/cobra"
)

func (c *cli) runCmd() *cobra.Command {
	var member supervise.Member
	var file string
	var listen listenFlag
	var env envFlag
	var probe probeFlag
	cmd := &cobra.Command{
		Use:   "run [flags] [-- PROGRAM [ARGUMENT...]]",
		Short: "Start services and supervise them",
		Long: `run opens the sockets of services, starts them and stays: a crash is followed by
a new start, and "segue restart" replaces a service without losing a request.

The services are those of segue.yaml in this directory, or of --file; "segue init"
writes one. A single program can be run without a file, after --.

What happens is told on standard error, what the services write appears on
standard output. Ctrl-C or SIGTERM stops in order, a second one at once; SIGUSR2
restarts every service; SIGHUP applies a changed file, or has the program read its
configuration again when there is no file. As PID 1 of a container, run exits with
the exit code of the service.

A supervisor that was killed is followed by the next "segue run", which takes over
what goes on to serve.`,
		Example: `  segue run
  segue run --file /etc/shop/segue.yaml
  segue run --listen web=:8080 -- ./shop
  segue run --name shop --listen web=:8080 --listen admin=unix:/run/shop.sock --probe web=/healthz -- ./shop --config shop.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := c.plan(cmd, file, args, func() supervise.Member {
				member.Argv, member.Listen, member.Env = args, listen, env
				if probe.probe != nil {
					member.Probes = []supervise.Probe{*probe.probe}
				}
				if member.Name == "" {
					member.Name = programName(args[0])
				}
				return member
			})
			if err != nil {
				return err
			}
			return c.run(cmd.Context(), plan)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the program is the program's
	f.StringVar(&file, "file", "", "`FILE` with the services (default: segue.yaml in this directory, when there is no PROGRAM)")
	f.StringVar(&member.Name, "name", "", "`NAME` of the service (default: that of the program)")
	f.Var(&listen, "listen", "open a socket and pass it to the service by name; ADDR is host:port, :port or unix:/path (repeatable)")
	f.StringVar(&member.Dir, "dir", "", "`DIRECTORY` to run the service in")
	f.Var(&env, "env", "set a variable in the environment of the service (repeatable)")
	f.DurationVar(&member.ReadyTimeout, "ready-timeout", handover.DefaultReadyTimeout, "`TIME` a new generation may take to become ready")
	f.DurationVar(&member.Trial, "trial", handover.DefaultTrial, "`TIME` for which a new generation is tried before it serves")
	f.DurationVar(&member.Probation, "probation", handover.DefaultProbation, "`TIME` for which the old generation can take the service back")
	f.DurationVar(&member.DrainTimeout, "drain-timeout", supervise.DefaultDrainTimeout, "`TIME` the old generation may take to finish")
	f.Var(&probe, "probe", "a page that a new generation must answer with a status below 400; NAME is the socket's")
	cmd.MarkFlagDirname("dir")
	cmd.MarkFlagFilename("file", "yaml", "yml")
	return cmd
}

// programName is the name of a service whose program is at path.
func programName(path string) string {
	return manifest.NameFrom(strings.TrimSuffix(filepath.Base(path), ".exe"))
}

// plan is that of the file, or of the program that was named instead.
func (c *cli) plan(cmd *cobra.Command, file string, args []string, single func() supervise.Member) (plan supervise.Plan, err error) {
	if len(args) > 0 {
		if file != "" {
			return plan, usage("cannot run "+args[0]+" and the services of "+file, "leave out one of them")
		}
		m := single()
		plan = supervise.Plan{Name: m.Name, Services: []supervise.Member{m}}
	} else {
		for _, name := range []string{"name", "listen", "dir", "env", "probe", "ready-timeout", "trial", "probation", "drain-timeout"} {
			if cmd.Flags().Changed(name) {
				return plan, usage("--"+name+" is for a program that is named on the command line", "write the program after --, or change the file")
			}
		}
		if file == "" {
			if file, err = manifest.Find("."); err != nil {
				return plan, usage("segue run does not know what to run", "write the program after --, as in: segue run -- ./shop; or a file: segue init")
			}
		}
		if plan, err = manifest.Read(file); err != nil {
			return plan, err
		}
		path := plan.File
		plan.Read = func() (supervise.Plan, error) { return manifest.Read(path) }
	}
	plan.Dir, plan.Version = filepath.Join(runtimeDir(), plan.Name), version()
	return plan, nil
}

// run supervises until the services have ended.
func (c *cli) run(ctx context.Context, plan supervise.Plan) error {
	if err := plan.Check(); err != nil {
		return usageError{err}
	}
	// From here on, since taking services over may take a while.
	signals := make(chan os.Signal, 8)
	for s := range signalMeanings() {
		signal.Notify(signals, s)
	}
	defer signal.Stop(signals)
	supervisor, err := supervise.Open(plan)
	if err != nil {
		return err
	}
	return newRunner(c, plan, supervisor).run(ctx, signals)
}
