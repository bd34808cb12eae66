package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/manifest"
	"github.com/spf13/cobra"
)

// written is what `segue init --json` writes.
type written struct {
	File     string             `json:"file"`
	Problems []manifest.Problem `json:"problems,omitempty"` // that it has until the program is built
}

func (c *cli) initCmd() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a segue.yaml to begin with",
		Long: `init writes segue.yaml in this directory, or FILE: one service, with what it runs
guessed from the Go module or the programs that are beside the file, and what else
can be set as comments. A file that is there is left alone, unless --force is given.`,
		Example: `  segue init
  segue init /etc/shop/segue.yaml`,
		Args: atMostOneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "segue.yaml"
			if len(args) > 0 {
				path = args[0]
			} else if there, err := manifest.Find("."); err == nil {
				path = there // segue.yml
			}
			if err := writeNew(path, manifest.Template(filepath.Dir(path)), force); err != nil {
				return err
			}
			_, err := manifest.Read(path)
			var problems manifest.Problems
			if err != nil && !errors.As(err, &problems) {
				return err
			}
			if c.json {
				return c.writeJSON(written{path, problems})
			}
			fmt.Fprintf(c.stdout, "wrote %s\n", path)
			for _, p := range problems {
				fmt.Fprintf(c.stdout, "  still to do: %s; %s\n", p.Message, p.Hint)
			}
			check, run := "segue check", "segue run"
			if len(args) > 0 {
				check, run = check+" "+path, run+" --file "+path
			}
			fmt.Fprintf(c.stdout, "next: edit it, then `%s`, then `%s`\n", check, run)
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there")
	return cmd
}

// writeNew writes a file that is not there yet, unless force allows one.
func writeNew(path string, data []byte, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &client.Error{Message: path + " is there already", Hint: "segue init --force replaces it"}
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
