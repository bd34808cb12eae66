package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/segue-go/segue/client"
	"github.com/spf13/cobra"
)

func (c *cli) logsCmd() *cobra.Command {
	var r client.LogsRequest
	cmd := c.remote(&cobra.Command{
		Use:   "logs [SERVICE]",
		Short: "Show what a service has written",
		Long: `logs shows what the newest generation of a service, or of each, has written to
standard output and standard error. With --follow it goes on with what comes, also
from later generations unless --generation names one. Each line begins with the
service and the generation that wrote it when there are several services, and on a
terminal with --follow.`,
		Example: `  segue logs -f
  segue logs web --generation 3`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.Generation < 0 {
				return usage(fmt.Sprintf("cannot use --generation %d", r.Generation), "write the number of a generation; segue status shows them")
			}
			s, all, err := c.overview(cmd.Context())
			if err != nil {
				return err
			}
			r.Service = strings.Join(args, "")
			if r.Generation != 0 && r.Service == "" {
				if r.Service, err = pick(cmd, all, args); err != nil {
					return err
				}
			}
			ctx, release := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer release()
			r.Label = !c.json && (len(all.Of(r.Service)) > 1 || r.Follow && isTerminal(c.stdout))
			err = s.Logs(ctx, r, c.logsWriter())
			if ctx.Err() != nil {
				return nil // the usual way to end --follow
			}
			return err
		},
	}, one)
	cmd.Flags().BoolVarP(&r.Follow, "follow", "f", false, "go on with what comes")
	cmd.Flags().IntVar(&r.Generation, "generation", 0, "`NUMBER` of a generation (default: the newest)")
	return cmd
}

func (c *cli) logsWriter() io.Writer {
	if !c.json {
		return c.stdout
	}
	return &jsonLines{c: c}
}

// jsonLines makes {"line": …} of each line that is written to it.
type jsonLines struct {
	c    *cli
	rest []byte
}

func (j *jsonLines) Write(p []byte) (int, error) {
	j.rest = append(j.rest, p...)
	for {
		line, rest, whole := bytes.Cut(j.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		j.rest = rest
		if err := j.c.writeJSON(struct {
			Line string `json:"line"`
		}{string(line)}); err != nil {
			return 0, err
		}
	}
}
