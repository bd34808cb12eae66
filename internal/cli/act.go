package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/segue-go/segue/client"
)

// act asks the supervisor for something that ends with a report, shows what
// happens meanwhile and then the report, and returns what it is worth.
func (c *cli) act(ctx context.Context, do func(context.Context, *client.Client, func(client.Event)) (client.Report, error)) error {
	supervisor, err := c.supervisor()
	if err != nil {
		return err
	}
	ctx, release := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer release()
	var p printer = &textPrinter{screen: newScreen(c.stdout, "")}
	if c.json {
		p = newJSONPrinter(c.stdout)
	}
	defer p.close()
	report, err := do(ctx, supervisor, p.event)
	if err != nil && ctx.Err() != nil {
		return &client.Error{Message: "stopped watching; what was asked for goes on", Hint: "segue status shows how it ends"}
	}
	if err != nil {
		return err
	}
	p.event(client.Event{Time: time.Now(), Service: report.Service, Kind: client.EventReport, Report: &report})
	return outcome(report.Outcome)
}
