package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/segue-go/segue/internal/deploy"
	"github.com/segue-go/segue/internal/manifest"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/spf13/cobra"
)

// oldestSystemd is assumed where none can be asked: what is written for it works
// with every later one.
const oldestSystemd = 252

// libraryStop is what a service of its own may take to stop with the defaults of
// segue.Options: 30 s of drain, 11 s for the end of servers and tasks, 5 s for
// each of a few clean-ups.
const libraryStop = 60 * time.Second

// generator is one call of `segue generate`.
type generator struct {
	*cli
	file, name  string
	listen      listenFlag
	probe       probeFlag
	drain       time.Duration
	user, group string
	output      string
	library     bool
}

func (c *cli) generateCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Write what systemd or supervisord need to run this",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return usage("segue generate does not know for whom", "write segue generate systemd, or segue generate supervisord")
		},
	}
	cmd.AddCommand(c.generateSystemdCmd(), c.generateSupervisordCmd())
	return cmd
}

func (c *cli) generateSystemdCmd() *cobra.Command {
	g := &generator{cli: c}
	var version int
	var sockets bool
	cmd := g.command(&cobra.Command{
		Use:   "systemd [flags] [-- PROGRAM [ARGUMENT...]]",
		Short: "Write a systemd unit",
		Long: `systemd writes the unit that runs segue.yaml, or PROGRAM, under systemd: started
at boot, watched, with its sockets kept while it is replaced; "systemctl reload"
restarts the services without losing a request and fails if they were rolled
back, "systemctl stop" leaves nothing behind.

With --library the unit is for a program that uses the Go library and is to run
without "segue run": it is handed over from process to process.`,
		Example: `  segue generate systemd --output /etc/systemd/system
  segue generate systemd --user shop --listen web=:8080 --sockets -- /usr/local/bin/shop
  segue generate systemd --library -- /usr/local/bin/shop`,
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := g.job(cmd, args)
			if err != nil {
				return err
			}
			if version == 0 {
				version = systemdVersion()
			}
			files, err := deploy.Systemd(j, version, sockets)
			if err != nil {
				return err
			}
			return g.write(files)
		},
	})
	f := cmd.Flags()
	f.IntVar(&version, "systemd-version", 0, "`VERSION` of systemd that will read it (default: the one of this machine)")
	f.BoolVar(&sockets, "sockets", false, "write socket units as well: systemd opens the sockets, the first connection starts the service")
	f.BoolVar(&g.library, "library", false, "PROGRAM uses the library, and runs without segue run")
	return cmd
}

func (c *cli) generateSupervisordCmd() *cobra.Command {
	g := &generator{cli: c}
	return g.command(&cobra.Command{
		Use:   "supervisord [flags] [-- PROGRAM [ARGUMENT...]]",
		Short: "Write a section for supervisord",
		Long: `supervisord writes the section [program:NAME] that runs segue.yaml, or PROGRAM,
under supervisord. Restart the services with "segue restart": supervisord itself
can only stop and start, and clients are refused meanwhile.`,
		Example: `  segue generate supervisord --output /etc/supervisor/conf.d`,
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := g.job(cmd, args)
			if err != nil {
				return err
			}
			file, err := deploy.Supervisord(j)
			if err != nil {
				return err
			}
			return g.write([]deploy.File{file})
		},
	})
}

// command adds the flags that both have.
func (g *generator) command(cmd *cobra.Command) *cobra.Command {
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&g.file, "file", "", "`FILE` with the services (default: segue.yaml in this directory, when there is no PROGRAM)")
	f.StringVar(&g.name, "name", "", "`NAME` of the service (default: that of PROGRAM)")
	f.Var(&g.listen, "listen", "open a socket for PROGRAM, as in segue run (repeatable)")
	f.Var(&g.probe, "probe", "a page that PROGRAM must answer, as in segue run")
	f.DurationVar(&g.drain, "drain-timeout", supervise.DefaultDrainTimeout, "`TIME` PROGRAM may take to finish, as in segue run")
	f.StringVar(&g.user, "user", "", "`USER` that runs it (default: root)")
	f.StringVar(&g.group, "group", "", "`GROUP` that it runs as (default: the user's)")
	f.StringVar(&g.output, "output", "", "`PATH` of a directory, or for one file of that file, to write to (default: standard output)")
	cmd.MarkFlagFilename("file", "yaml", "yml")
	cmd.MarkFlagFilename("output")
	return cmd
}

// job is what is asked for.
func (g *generator) job(cmd *cobra.Command, program []string) (deploy.Job, error) {
	switch {
	case len(program) > 0 && g.file != "":
		return deploy.Job{}, usage("cannot generate for a file and a program at once", "leave out --file, or the program")
	case len(program) == 0 && g.library:
		return deploy.Job{}, usage("segue generate does not know which program uses the library", "write it after --, as in: segue generate systemd --library -- /usr/local/bin/shop")
	case len(program) == 0:
		for _, name := range []string{"name", "listen", "probe", "drain-timeout"} {
			if cmd.Flags().Changed(name) {
				return deploy.Job{}, usage("--"+name+" is for a program that is named on the command line", "write the program after --, or change the file")
			}
		}
		return g.fromFile()
	}
	path, err := findProgram(program[0])
	if err != nil {
		return deploy.Job{}, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return deploy.Job{}, fmt.Errorf("cannot see the present directory: %w", err)
	}
	program = append([]string{path}, program[1:]...)
	j := deploy.Job{Name: g.name, Dir: dir, User: g.user, Group: g.group, Command: program, Stop: libraryStop}
	if j.Name == "" {
		j.Name = programName(path)
	}
	service := "" // sockets of a library have no service in their names
	if !g.library {
		service = j.Name
		err = g.supervised(&j, program)
	}
	for _, l := range g.listen {
		j.Sockets = append(j.Sockets, deploy.Socket{Service: service, Name: l.Name, Addr: l.Addr})
	}
	return j, err
}

// supervised has segue run the program.
func (g *generator) supervised(j *deploy.Job, program []string) error {
	self, err := g.self(j)
	if err != nil {
		return err
	}
	command := []string{self, "run", "--name", j.Name}
	for _, l := range g.listen {
		command = append(command, "--listen", l.Name+"="+l.Addr)
	}
	if p := g.probe.probe; p != nil {
		page := p.Path
		if p.Socket != "" {
			page = p.Socket + "=" + page
		}
		command = append(command, "--probe", page)
	}
	if g.drain != supervise.DefaultDrainTimeout {
		command = append(command, "--drain-timeout", g.drain.String())
	}
	j.Command = append(append(command, "--"), program...)
	j.Services = []string{j.Name}
	j.Stop = supervise.Plan{Services: []supervise.Member{{Config: supervise.Config{Name: j.Name, DrainTimeout: g.drain}}}}.StopBudget()
	return nil
}

// fromFile is the job that runs segue.yaml.
func (g *generator) fromFile() (deploy.Job, error) {
	path := g.file
	if path == "" {
		found, err := manifest.Find(".")
		if err != nil {
			return deploy.Job{}, err
		}
		path = found
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return deploy.Job{}, err
	}
	plan, err := manifest.Read(path)
	if err != nil {
		return deploy.Job{}, err
	}
	j := deploy.Job{Name: plan.Name, Dir: filepath.Dir(path), User: g.user, Group: g.group, Stop: plan.StopBudget()}
	self, err := g.self(&j)
	if err != nil {
		return j, err
	}
	j.Command = []string{self, "run", "--file", path}
	for _, m := range plan.Services {
		if g.user != "" && m.User != "" && m.User != g.user {
			return j, usage(fmt.Sprintf("cannot run %s as %s under a supervisor that runs as %s", m.Name, m.User, g.user), "leave out --user: the supervisor then runs as root, and each service as its own user")
		}
		j.Services = append(j.Services, m.Name)
		for _, l := range m.Listen {
			j.Sockets = append(j.Sockets, deploy.Socket{Service: m.Name, Name: l.Name, Addr: l.Addr, Mode: l.Mode, Owner: l.Owner, Group: l.Group})
		}
	}
	return j, nil
}

// self is this command, and how it restarts what it supervises.
func (g *generator) self(j *deploy.Job) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot find the segue command: %w", err)
	}
	j.Restart = []string{self, "restart", "--name", j.Name}
	return self, nil
}

// findProgram is the absolute path of a program that is there.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrDot) {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot generate for %s: %w; build it, or correct the path", name, errors.Unwrap(err))
	}
	return filepath.Abs(path)
}

// write puts files where --output says. None that is there is replaced by another:
// somebody may have edited it.
func (g *generator) write(files []deploy.File) error {
	if g.output == "" {
		return g.print(files)
	}
	info, err := os.Stat(g.output)
	dir := err == nil && info.IsDir()
	if len(files) > 1 && !dir {
		return usage(fmt.Sprintf("cannot write %d files to %s", len(files), g.output), "name a directory that is there")
	}
	for _, f := range files {
		path := g.output
		if dir {
			path = filepath.Join(g.output, f.Name)
		}
		old, err := os.ReadFile(path)
		switch {
		case err == nil && string(old) != f.Text:
			return fmt.Errorf("cannot write %s: there is another file of that name; compare it with what is written without --output, and remove it", path)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("cannot write %s: %w", path, err)
		}
		if err := os.WriteFile(path, []byte(f.Text), 0o644); err != nil {
			return fmt.Errorf("cannot write %s: %w; choose another --output", path, err)
		}
		if g.json {
			err = json.NewEncoder(g.stdout).Encode(map[string]string{"path": path})
		} else {
			_, err = fmt.Fprintln(g.stdout, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *generator) print(files []deploy.File) error {
	for i, f := range files {
		var err error
		switch {
		case g.json:
			err = json.NewEncoder(g.stdout).Encode(f)
		case i > 0:
			_, err = fmt.Fprintf(g.stdout, "\n%s", f.Text)
		default:
			_, err = fmt.Fprint(g.stdout, f.Text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// systemdVersion is that of this machine.
func systemdVersion() int {
	out, err := exec.Command("systemctl", "--version").Output()
	if m := versionLine.FindSubmatch(bytes.TrimSpace(out)); err == nil && m != nil {
		if n, err := strconv.Atoi(string(m[1])); err == nil {
			return n
		}
	}
	return oldestSystemd
}

var versionLine = regexp.MustCompile(`^systemd (\d+)`)
