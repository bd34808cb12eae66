package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/segue-go/segue/internal/supervise"
	"go.yaml.in/yaml/v3"
)

// maxSize is how many bytes a file may have.
const maxSize = 1 << 20

// fileNames are what the file is called, in order.
var fileNames = []string{"segue.yaml", "segue.yml"}

// Find is the path of the file in dir.
func Find(dir string) (string, error) {
	for _, name := range fileNames {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("cannot look for %s: %w", name, err)
		}
	}
	where := "this directory"
	if dir != "" && dir != "." {
		where = dir
	}
	return "", fmt.Errorf("cannot find segue.yaml in %s; `segue init` writes one", where)
}

// Read reads the file at path into a plan, without its Dir and Version and the
// RuntimeDir of its services. The error is Problems when the file could be read.
func Read(path string) (supervise.Plan, error) {
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return supervise.Plan{}, fmt.Errorf("cannot read %s: it is not there; `segue init` writes one", path)
	}
	if err != nil {
		return supervise.Plan{}, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return Parse(path, data)
}

// Parse is Read of a file at path that has data in it.
func Parse(path string, data []byte) (supervise.Plan, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return supervise.Plan{}, fmt.Errorf("cannot read %s: %w", path, err)
	}
	r := &reader{path: path, dir: filepath.Dir(absolute), sections: manifest.section().all(), key: "the file"}
	root := r.document(data)
	if root == nil {
		return supervise.Plan{}, r.problems
	}
	f, ok := manifest.kind().read(r, root)
	if f.name.node == nil {
		if f.name.value = NameFrom(filepath.Base(r.dir)); !nameForm.MatchString(f.name.value) {
			r.bad(root, "add name", "cannot call the supervisor after its directory: a name is %s", nameRule)
		}
	}
	if !ok || len(r.problems) > 0 {
		return supervise.Plan{}, r.problems.sorted(path)
	}
	p := f.plan()
	p.File = absolute
	return p, nil
}

// NameFrom makes the name of a service or supervisor from s: what can be in one
// stays, the rest becomes '-'. It may be empty, or too long.
func NameFrom(s string) string {
	s = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c) {
			return c
		}
		return '-'
	}, strings.ToLower(s))
	return strings.TrimLeft(s, "._-")
}

// document is what stands in data, or nil when that is no YAML, which was noted.
func (r *reader) document(data []byte) *yaml.Node {
	whole := &yaml.Node{Line: 1, Column: 1}
	if len(data) > maxSize {
		r.bad(whole, "split it, or move variables to env_files", "cannot read a file of more than %d bytes", maxSize)
		return nil
	}
	if line, column, ok := printable(data); !ok {
		r.bad(&yaml.Node{Line: line, Column: column}, "write the file in UTF-8", "cannot read a character that is not text")
		return nil
	}
	var n, more yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	err := decoder.Decode(&n)
	if errors.Is(err, io.EOF) || err == nil && (len(n.Content) == 0 || n.Content[0].Tag == "!!null") {
		r.bad(whole, "`segue init --force` writes one to begin with", "the file is empty")
		return nil
	}
	if err != nil {
		r.badYAML(data, err)
		return nil
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			r.badYAML(data, err)
		} else {
			r.bad(&more, "remove it, or give it a file of its own", "cannot read a second document")
		}
		return nil
	}
	return n.Content[0]
}
