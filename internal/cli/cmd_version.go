package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/segue-go/segue/client"
	"github.com/spf13/cobra"
)

// versions is what `segue version --json` writes.
type versions struct {
	client.Version
	Go         string          `json:"go"`
	Platform   string          `json:"platform"`
	Supervisor *client.Version `json:"supervisor,omitempty"`
}

func (c *cli) versionCmd() *cobra.Command {
	return c.remote(&cobra.Command{
		Use:   "version",
		Short: "Show the version of this command, and of the supervisor that runs",
		Long: `version shows the version of this command. When a supervisor runs it shows its
version too, which is that of the command that started it.`,
		Example: `  segue version --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			v := versions{Version: client.Version{Version: version(), API: client.APIVersion},
				Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			supervisor, err := c.supervisor()
			if err == nil {
				var theirs client.Version
				if theirs, err = supervisor.Version(cmd.Context()); err == nil {
					v.Supervisor = &theirs
				}
			}
			if err != nil && c.name != "" {
				return err // it was asked for by name
			}
			if c.json {
				return c.writeJSON(v)
			}
			fmt.Fprintf(c.stdout, "segue %s (API %d, %s, %s)\n", v.Version.Version, v.API, v.Go, v.Platform)
			if v.Supervisor != nil {
				fmt.Fprintf(c.stdout, "supervisor %s (API %d)\n", v.Supervisor.Version, v.Supervisor.API)
			}
			return nil
		},
	}, none)
}

// version is what the go command has put into this binary.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// writeJSON writes v as a line.
func (c *cli) writeJSON(v any) error {
	if err := json.NewEncoder(c.stdout).Encode(v); err != nil {
		return errors.Join(errors.New("cannot write the answer"), err)
	}
	return nil
}
