package cli

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/spf13/cobra"
)

// again is how long a stream of events that has ended is left alone.
const again = 100 * time.Millisecond

func (c *cli) eventsCmd() *cobra.Command {
	var forever bool
	cmd := c.remote(&cobra.Command{
		Use:   "events [SERVICE]",
		Short: "Show what happens",
		Long: `events shows the present state of each service. With --follow it goes on with what
happens: states, generations, the steps of restarts, and their reports.`,
		Example: `  segue events -f
  segue events web -f --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, all, err := c.overview(cmd.Context())
			if err != nil {
				return err
			}
			service := strings.Join(args, "")
			if forever {
				return c.tell(cmd.Context(), s, service, len(all.Of(service)) > 1)
			}
			found, err := services(all, service)
			if err != nil {
				return err
			}
			for _, st := range found {
				e := client.Event{Time: st.Since, Service: st.Service, Kind: client.EventState, State: st.State, Text: st.Reason}
				if c.json {
					err = c.writeJSON(e)
				} else {
					newScreen(c.stdout, "").print(stateNow(st))
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}, one)
	cmd.Flags().BoolVarP(&forever, "follow", "f", false, "go on with what happens")
	return cmd
}

// tell shows what happens until the supervisor leaves or the user has seen
// enough.
func (c *cli) tell(ctx context.Context, s *client.Client, service string, several bool) error {
	ctx, release := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer release()
	p := c.newPrinter(true, several)
	defer p.close()
	return follow(ctx, s, service, p.event)
}

// follow tells events until ctx ends or the supervisor leaves, neither of which is
// an error. With one that was executed in its place it goes on.
func follow(ctx context.Context, s *client.Client, service string, each func(client.Event)) error {
	for {
		err := s.Events(ctx, service, func(e client.Event) error { each(e); return nil })
		if told := (*client.Error)(nil); errors.As(err, &told) && errors.Unwrap(told) == nil {
			return err // a refusal: there is no such service
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		}
		switch _, gone := s.Version(ctx); {
		case ctx.Err() != nil, err == nil && errors.Is(gone, client.ErrNotRunning):
			return nil
		case gone != nil:
			return cmp.Or(err, gone)
		}
	}
}
