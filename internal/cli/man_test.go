package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

const manDir = "../../docs/man"

// TestManPages: the man pages say what --help says. `make man` writes them.
func TestManPages(t *testing.T) {
	c := &cli{stdout: io.Discard, stderr: io.Discard}
	root := c.root()
	root.DisableAutoGenTag = true
	root.InitDefaultHelpFlag()
	pages := map[string]string{}
	if err := manPages(root, pages); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.MkdirAll(manDir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, page := range pages {
		golden(t, filepath.Join(manDir, name), page)
	}
	there, err := filepath.Glob(filepath.Join(manDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if _, ok := pages[filepath.Base(path)]; ok {
			continue
		}
		if !*update {
			t.Errorf("there is no command for %s: make man", path)
		} else if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// manPages makes the page of cmd and of those below it.
func manPages(cmd *cobra.Command, pages map[string]string) error {
	if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" { // which explains itself in the words of each shell
		return nil
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	var b bytes.Buffer
	day := time.Time{}
	if err := doc.GenMan(cmd, &doc.GenManHeader{Title: strings.ToUpper(name), Section: "1", Source: "Segue", Manual: "Segue", Date: &day}, &b); err != nil {
		return err
	}
	// A date would make each of them differ each month.
	pages[name+".1"] = strings.Replace(b.String(), `"Jan 0001"`, `""`, 1)
	for _, sub := range cmd.Commands() {
		if err := manPages(sub, pages); err != nil {
			return err
		}
	}
	return nil
}
