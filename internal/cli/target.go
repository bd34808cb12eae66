package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
)

func runtimeDir() string { return supervise.RuntimeDir() }

// supervisor is the one that --name says, or the only one that runs.
func (c *cli) supervisor() (*client.Client, error) {
	dir := runtimeDir()
	if c.name != "" {
		if c.name != filepath.Base(c.name) || c.name[0] == '.' {
			return nil, usage(fmt.Sprintf("cannot use --name %q: it is not the name of a service", c.name), "see segue run --help")
		}
		return client.New(supervise.APISocket(filepath.Join(dir, c.name))), nil
	}
	switch names, err := running(dir); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot see which supervisors run: %w; run this command as their user, or set SEGUE_RUNTIME_DIR", err)
	case len(names) == 0:
		return nil, &client.Error{Message: fmt.Sprintf("no supervisor runs (looked in %s)", dir), Hint: "start one: segue run -- ./service"}
	case len(names) == 1:
		return client.New(supervise.APISocket(filepath.Join(dir, names[0]))), nil
	default:
		return nil, usage("several supervisors run: "+strings.Join(names, ", "), "say which one: --name "+names[0])
	}
}

// running are the names of the supervisors that listen, in order. Connecting is
// the test: a directory is there long after its supervisor. One of another user
// counts: the answer is then that it is not ours.
func running(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		conn, err := net.Dial("unix", supervise.APISocket(filepath.Join(dir, e.Name())))
		if err == nil {
			conn.Close()
		}
		if err == nil || errors.Is(err, fs.ErrPermission) {
			names = append(names, e.Name())
		}
	}
	return names, err
}
