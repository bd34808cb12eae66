package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/manifest"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/spf13/cobra"
)

// checked is what `segue check --json` writes.
type checked struct {
	File     string             `json:"file"`
	OK       bool               `json:"ok"`
	Name     string             `json:"name,omitempty"` // of the supervisor
	Services []checkedService   `json:"services,omitempty"`
	Problems []manifest.Problem `json:"problems,omitempty"`
}

type checkedService struct {
	Name      string          `json:"name"`
	Program   string          `json:"program"`
	Sockets   []client.Socket `json:"sockets,omitempty"`
	Instances int             `json:"instances"`
	DependsOn []string        `json:"depends_on,omitempty"`
	Manual    bool            `json:"manual,omitempty"` // only `segue start` starts it
}

func (c *cli) checkCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say what is wrong with segue.yaml",
		Long: `check reads segue.yaml of this directory, or FILE, and says all that is wrong with
it, each with its line and column and what to do, or what it would run. It changes
nothing, opens no socket and talks to no supervisor.

Programs, directories, env files, users and groups must be there; ${NAME} has its
value from the environment of this command. Exit code 1 means that there is a
problem.`,
		Example: `  segue check
  segue check /etc/shop/segue.yaml --json`,
		Args: atMostOneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := fileOf(args)
			if err != nil {
				return err
			}
			plan, err := manifest.Read(path)
			var problems manifest.Problems
			switch {
			case errors.As(err, &problems) && c.json:
				return errors.Join(c.writeJSON(checked{File: path, Problems: problems}), said(exitFailed))
			case errors.As(err, &problems):
				fmt.Fprintln(c.stderr, clean(problems.Error()))
				fmt.Fprintf(c.stderr, "%s in %s\n", count(len(problems), "problem", "problems"), path)
				return said(exitFailed)
			case err != nil:
				return err
			}
			found := describe(path, plan)
			if c.json {
				return c.writeJSON(found)
			}
			fmt.Fprintf(c.stdout, "%s is in order: %s\n", path, found.Name)
			for _, line := range table(found.rows()) {
				fmt.Fprintln(c.stdout, "  "+line)
			}
			return nil
		},
	}
}

// atMostOneFile is Args of a command that takes a FILE.
func atMostOneFile(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage(fmt.Sprintf("%s takes one file, not also %q", cmd.CommandPath(), args[1]), seeHelp(cmd))
	}
	return nil
}

// fileOf is the file that args name, or the one in this directory.
func fileOf(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	return manifest.Find(".")
}

func describe(path string, plan supervise.Plan) checked {
	found := checked{File: path, OK: true, Name: plan.Name}
	for _, m := range plan.Services {
		s := checkedService{Name: m.Name, Program: m.Argv[0], Instances: m.Instances, DependsOn: m.DependsOn, Manual: m.Manual}
		for _, l := range m.Listen {
			s.Sockets = append(s.Sockets, client.Socket{Name: l.Name, Addr: l.Addr})
		}
		found.Services = append(found.Services, s)
	}
	return found
}

// rows are a line for each service.
func (f checked) rows() [][]string {
	var rows [][]string
	for _, s := range f.Services {
		var sockets, notes []string
		for _, l := range s.Sockets {
			sockets = append(sockets, l.Name+" "+l.Addr)
		}
		if s.Instances > 1 {
			notes = append(notes, fmt.Sprintf("%d instances", s.Instances))
		}
		if len(s.DependsOn) > 0 {
			notes = append(notes, "after "+strings.Join(s.DependsOn, ", "))
		}
		if s.Manual {
			notes = append(notes, "started by hand")
		}
		rows = append(rows, []string{s.Name, s.Program, strings.Join(sockets, ", "), strings.Join(notes, "; ")})
	}
	return rows
}
