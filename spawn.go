package segue

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/segue-go/segue/handover"
)

// origin is what it takes to start this program again: taken down at the
// start, before the program can change its directory or environment.
type origin struct {
	path string // the name it was started by, so that a new file there is found
	args []string
	dir  string
	env  []string
}

func whereFrom() (origin, error) {
	dir, err := os.Getwd()
	if err != nil {
		return origin{}, fmt.Errorf("cannot tell the working directory: %w", err)
	}
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		if path, err = os.Executable(); err != nil {
			return origin{}, fmt.Errorf("cannot tell which program this is: %w", err)
		}
	}
	return origin{path: path, args: os.Args, dir: dir, env: os.Environ()}, nil
}

// spawn starts the program again with every socket of this one. dir, which has the
// socket of control, is removed when it has dialled.
func (m *machine) spawn(control *handover.ControlListener, dir string) (*successor, error) {
	c := handover.Command{
		Path: m.origin.path, Args: m.origin.args, Dir: m.origin.dir, Env: m.origin.env,
		Stdout: os.Stdout, Stderr: os.Stderr,
		Generation:   max(m.in.Generation, 1) + 1,
		Predecessor:  os.Getpid(),
		NotifySocket: m.in.NotifySocket,
		Watchdog:     m.in.Watchdog,
		Control:      control.Path(),
		Sibling:      m.in.NotifySocket != "", // it is to be systemd's main process
		Solo:         m.in.Solo,
	}
	for _, s := range m.app.servers {
		conn, ok := s.ln.(syscall.Conn)
		if !ok {
			return nil, fmt.Errorf("cannot pass socket %q on: it has no descriptor", s.name)
		}
		f, err := handover.Dup(conn, s.name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		c.Sockets = append(c.Sockets, handover.Socket{Name: s.name, File: f})
	}
	c.Journal = m.newJournal()
	process, err := handover.Start(c)
	if err != nil {
		if c.Journal != nil {
			c.Journal.Close()
		}
		return nil, err
	}
	next := &successor{m: m, process: process, journal: c.Journal, drain: m.opts.DrainTimeout, ready: make(chan struct{}), linked: make(chan struct{}), released: make(chan struct{})}
	go next.welcome(control, dir)
	return next, nil
}
