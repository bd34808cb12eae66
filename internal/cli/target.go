package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/spf13/cobra"
)

func runtimeDir() string { return supervise.RuntimeDir() }

// How many services a command takes.
const (
	none      = 0
	one       = 1
	anyNumber = -1
)

// remote is a command that talks to a running supervisor, about so many services.
func (c *cli) remote(cmd *cobra.Command, services int) *cobra.Command {
	cmd.Args = atMost(services)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if services != anyNumber && len(args) >= services {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.completions(cmd.Context(), args), cobra.ShellCompDirectiveNoFileComp
	}
	cmd.Flags().StringVar(&c.name, "name", "", "`NAME` of the supervisor (default: the only one that runs)")
	cmd.RegisterFlagCompletionFunc("name", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		names, _ := running(runtimeDir())
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// completions are the services that are not on the command line yet.
func (c *cli) completions(ctx context.Context, args []string) []string {
	ctx, cancel := context.WithTimeout(ctx, time.Second) // somebody waits at a keyboard
	defer cancel()
	_, all, err := c.overview(ctx)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all.Names(), func(n string) bool { return slices.Contains(args, n) })
}

// overview asks the supervisor how it is.
func (c *cli) overview(ctx context.Context) (*client.Client, client.Overview, error) {
	s, err := c.supervisor()
	if err != nil {
		return nil, client.Overview{}, err
	}
	all, err := s.Overview(ctx)
	return s, all, err
}

// services are those that service means; "" is all of them.
func services(all client.Overview, service string) ([]client.Status, error) {
	found := all.Of(service)
	if len(found) == 0 {
		return nil, &client.Error{Message: fmt.Sprintf("%s has no service %q", all.Name, service), Hint: "its services are " + strings.Join(all.Names(), ", ")}
	}
	return found, nil
}

// supervisor is the one that --name says, or the only one that runs.
func (c *cli) supervisor() (*client.Client, error) {
	dir := runtimeDir()
	if c.name != "" {
		if c.name != filepath.Base(c.name) || c.name[0] == '.' {
			return nil, usage(fmt.Sprintf("cannot use --name %q: it is not the name of a supervisor", c.name), "see segue run --help")
		}
		return client.New(supervise.APISocket(filepath.Join(dir, c.name))), nil
	}
	switch names, err := running(dir); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot see which supervisors run: %w; run this command as their user, or set SEGUE_RUNTIME_DIR", err)
	case len(names) == 0:
		return nil, &client.Error{Message: fmt.Sprintf("no supervisor runs (looked in %s)", dir), Hint: "start one: segue run -- ./service"}
	case len(names) == 1:
		return client.New(supervise.APISocket(filepath.Join(dir, names[0]))), nil
	default:
		return nil, usage("several supervisors run: "+strings.Join(names, ", "), "say which one: --name "+names[0])
	}
}

// running are the names of the supervisors that listen, in order. Connecting is
// the test: a directory is there long after its supervisor. One of another user
// counts: the answer is then that it is not ours.
func running(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		conn, err := net.Dial("unix", supervise.APISocket(filepath.Join(dir, e.Name())))
		if err == nil {
			conn.Close()
		}
		if err == nil || errors.Is(err, fs.ErrPermission) {
			names = append(names, e.Name())
		}
	}
	return names, err
}
