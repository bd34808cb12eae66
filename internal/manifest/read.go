package manifest

import (
	"errors"

	"github.com/segue-go/segue/internal/supervise"
	"go.yaml.in/yaml/v3"
)

// Read reads a file into a plan.
func Read(path string) (supervise.Plan, error) { return Parse(path, nil) }

// Parse reads data as the file at path.
func Parse(path string, data []byte) (supervise.Plan, error) {
	var n yaml.Node
	return supervise.Plan{}, errors.Join(yaml.Unmarshal(data, &n), errors.New("cannot read segue.yaml: not written yet"))
}

// Find is the file in dir.
func Find(dir string) (string, error) { return "", errors.New("not written yet") }

// Schema is the JSON schema of the file.
func Schema() []byte { return nil }

// Template is what `segue init` writes for the project in dir.
func Template(dir string) []byte { return nil }
