package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/spf13/cobra"
)

// action is one call of the supervisor that ends with a report.
type action func(context.Context, *client.Client, func(client.Event)) (client.Report, error)

// act does the actions one after the other, until one does not end as it should,
// shows what happens meanwhile and then each report, and returns what the last
// one is worth. several says that more than one service, or instance of one, is
// about to be shown.
func (c *cli) act(ctx context.Context, s *client.Client, several bool, actions ...action) error {
	ctx, release := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer release()
	p := c.newPrinter(false, several)
	defer p.close()
	for _, do := range actions {
		report, err := do(ctx, s, p.event)
		if err != nil {
			return stoppedWatching(ctx, err)
		}
		p.event(client.Event{Time: time.Now(), Service: report.Service, Kind: client.EventReport, Report: &report})
		if err := outcome(report.Outcome); err != nil {
			return err
		}
	}
	return nil
}

// stoppedWatching is err, or that the user did not wait for the end.
func stoppedWatching(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &client.Error{Message: "stopped watching; what was asked for goes on", Hint: "segue status shows how it ends"}
	}
	return err
}

func (c *cli) newPrinter(all, several bool) printer {
	if c.json {
		return newJSONPrinter(c.stdout)
	}
	return &textPrinter{screen: newScreen(c.stdout, ""), all: all, several: several}
}

// actOn is the body of a command that does something to one service.
func (c *cli) actOn(do func(context.Context, *client.Client, string, func(client.Event)) (client.Report, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s, all, err := c.overview(cmd.Context())
		if err != nil {
			return err
		}
		service, err := pick(cmd, all, args)
		if err != nil {
			return err
		}
		return c.act(cmd.Context(), s, len(all.Of(service)) > 1, func(ctx context.Context, s *client.Client, progress func(client.Event)) (client.Report, error) {
			return do(ctx, s, service, progress)
		})
	}
}

// pick is the service that args name, or the only one.
func pick(cmd *cobra.Command, all client.Overview, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	names := all.Names()
	if len(names) == 1 {
		return names[0], nil
	}
	return "", usage(fmt.Sprintf("%s has several services: %s", all.Name, strings.Join(names, ", ")),
		fmt.Sprintf("say which one: %s %s", cmd.CommandPath(), names[0]))
}
