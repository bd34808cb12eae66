package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/closest"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// cli is one call of the command: where it writes, and the flags that several
// commands have.
type cli struct {
	stdout, stderr io.Writer
	json           bool
	name           string
}

// Main runs the command with args, which do not include its name, and returns
// its exit code. `segue run` listens to the process's signals while it lasts.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{stdout: stdout, stderr: stderr}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := unknownCommand(root, args)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	c.complain(err)
	return exitCode(err)
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "segue",
		Short: "Start, restart and stop a service without losing a request",
		Long: `segue supervises a service and restarts it without losing a request: a new
generation is started beside the old one, proves itself, takes over, and only
then does the old one leave. When it fails on the way, the old one goes on.

Exit codes: 0 it is done, 1 it failed, 2 the command line makes no sense, 3 it was
rolled back and everything is as before, 4 something had to be ended by force.`,
		Example: `  segue run --listen web=:8080 -- ./shop     start a service and supervise it
  segue restart --binary ./shop-2            put another binary in its place
  segue status                               what runs`,
		SilenceErrors: true, SilenceUsage: true,
	}
	group(root, "Run services:", c.runCmd(), c.initCmd(), c.checkCmd(), c.generateCmd())
	group(root, "Change what runs:", c.restartCmd(), c.rollbackCmd(), c.startCmd(), c.stopCmd(), c.reloadCmd(), c.upgradeCmd())
	group(root, "See what runs:", c.statusCmd(), c.eventsCmd(), c.logsCmd(), c.versionCmd())
	root.PersistentFlags().BoolVar(&c.json, "json", false, "write JSON, one value a line")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(&cobra.Command{Hidden: true}) // there is --help
	return root
}

// group adds commands under a title of their own in the help.
func group(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, cmd := range commands {
		cmd.GroupID = title
		root.AddCommand(cmd)
	}
}

// complain says what went wrong: what could not be done, then what to do.
func (c *cli) complain(err error) {
	var s said
	if err == nil || errors.As(err, &s) {
		return
	}
	told := explain(err)
	if c.json {
		json.NewEncoder(c.stderr).Encode(told)
		return
	}
	fmt.Fprintf(c.stderr, "error: %s\n", told.Message)
	if told.Hint != "" {
		fmt.Fprintf(c.stderr, "hint: %s\n", told.Hint)
	}
}

// explain finds the hint of an error. Errors of this module end with what to do
// after the last semicolon; those of several lines have it in each, where it stays.
func explain(err error) *client.Error {
	var told *client.Error
	if errors.As(err, &told) && told.Hint != "" {
		return told
	}
	text := err.Error()
	if i := strings.LastIndex(text, "; "); i > 0 && !strings.Contains(text, "\n") {
		return &client.Error{Message: text[:i], Hint: text[i+2:]}
	}
	return &client.Error{Message: text}
}

func noArguments(cmd *cobra.Command, args []string) error { return atMost(0)(cmd, args) }

// atMost takes so many arguments, or anyNumber.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if n != anyNumber && len(args) > n {
			return usage(fmt.Sprintf("%s takes no argument %q", cmd.CommandPath(), args[n]), seeHelp(cmd))
		}
		return nil
	}
}

// unknownCommand is asked before cobra, whose error would have another form.
func unknownCommand(root *cobra.Command, args []string) error {
	root.InitDefaultCompletionCmd(args...)
	cmd, rest, err := root.Find(args)
	if err == nil || cmd != root || len(rest) == 0 || strings.HasPrefix(rest[0], cobra.ShellCompRequestCmd) {
		return nil
	}
	name := rest[0]
	for _, a := range rest {
		if !strings.HasPrefix(a, "-") {
			name = a
			break
		}
	}
	hint := seeHelp(root)
	if similar := root.SuggestionsFor(name); len(similar) > 0 {
		hint = "did you mean " + strings.Join(similar, " or ") + "? " + hint
	}
	return usage(fmt.Sprintf("there is no command %q", name), hint)
}

// flagError says what is wrong with a flag, and which one may have been meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			return usage(fmt.Sprintf("%s has no flag -%s", cmd.CommandPath(), name), seeHelp(cmd))
		}
		var all []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { all = append(all, f.Name) })
		hint := seeHelp(cmd)
		if similar := closest.Word(name, all); similar != "" {
			hint = "did you mean --" + similar + "? " + hint
		}
		return usage(fmt.Sprintf("%s has no flag --%s", cmd.CommandPath(), name), hint)
	case errors.As(err, &value):
		return usage(fmt.Sprintf("cannot use --%s %q", value.GetFlag().Name, value.GetValue()), valueHint(value))
	}
	return usage(err.Error(), seeHelp(cmd))
}

func valueHint(e *pflag.InvalidValueError) string {
	if e.GetFlag().Value.Type() == "duration" {
		return "write a duration such as 500ms, 10s or 2m"
	}
	return errors.Unwrap(e).Error()
}

func seeHelp(cmd *cobra.Command) string { return "see " + cmd.CommandPath() + " --help" }
