package supervise_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/control"
	"github.com/segue-go/segue/internal/supervise"
	"github.com/segue-go/segue/internal/testproc"
	"golang.org/x/sys/unix"
)

// outpost is a supervisor of several services in a process of its own, with its API:
// one that can be limited, killed, and executed anew.
type outpost struct {
	t   *testing.T
	dir string // its runtime directory
	exe string
	cmd *exec.Cmd
	api *client.Client
	out string // what it has written
}

// supervises is the outpost's process.
func supervises(dir string) int {
	if len(os.Args) > 1 && os.Args[1] == "version" {
		json.NewEncoder(os.Stdout).Encode(client.Version{Version: "outpost", API: client.APIVersion})
		return 0
	}
	read := func() (p supervise.Plan, err error) {
		p = supervise.Plan{Name: "outpost", Dir: dir}
		data, err := os.ReadFile(filepath.Join(dir, "plan.json"))
		if err == nil {
			err = json.Unmarshal(data, &p.Services)
		}
		return p, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	p, err := read()
	var s *supervise.Supervisor
	if err == nil {
		p.Read = read
		s, err = supervise.Open(p)
	}
	var api *control.Server
	if err == nil {
		if left := s.Inherited("api"); left != nil {
			api, err = control.ListenFrom(left, supervise.APISocket(dir), s)
		} else {
			api, err = control.Listen(supervise.APISocket(dir), s.Readers(), s)
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	s.Bequeath("api", api.File)
	spareThreads()
	events, _ := s.Subscribe()
	go api.Serve()
	go func() {
		for e := range events {
			switch {
			case e.Kind == client.EventProblem:
				fmt.Println("problem:", e.Text)
			case e.Kind == client.EventReport:
				fmt.Println("report:", e.Report.Action, e.Report.Service, e.Report.Outcome, e.Report.Reason)
			}
		}
	}()
	err = s.Run(ctx)
	last, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	api.Shutdown(last)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// spareThreads has the runtime make more threads than will be needed: it ends the
// process if it cannot have one when no more may be started.
func spareThreads() {
	var all sync.WaitGroup
	for range 24 {
		all.Go(func() { unix.Nanosleep(&unix.Timespec{Nsec: 20e6}, nil) }) // each keeps a thread
	}
	all.Wait()
}

// build makes an outpost that is not there yet.
func build(t *testing.T, members ...supervise.Member) *outpost {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := &outpost{t: t, dir: t.TempDir(), exe: exe, out: filepath.Join(t.TempDir(), "output")}
	o.api = client.New(supervise.APISocket(o.dir))
	o.plan(members...)
	t.Cleanup(func() {
		for _, pid := range lineage(o.dir) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if o.cmd != nil {
			o.cmd.Wait()
		}
		if t.Failed() {
			files, _ := filepath.Glob(filepath.Join(o.dir, "*", "logs", "*.log"))
			for _, f := range append(files, o.out) {
				text, _ := os.ReadFile(f)
				t.Logf("%s:\n%s", strings.TrimPrefix(f, o.dir), text)
			}
		}
	})
	return o
}

// plan writes what the outpost reads.
func (o *outpost) plan(members ...supervise.Member) {
	o.t.Helper()
	data, err := json.Marshal(members)
	if err == nil {
		err = os.WriteFile(filepath.Join(o.dir, "plan.json"), data, 0o644)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// command is the outpost's process, not yet started.
func (o *outpost) command() *exec.Cmd {
	o.t.Helper()
	out, err := os.OpenFile(o.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { out.Close() })
	cmd := exec.Command(o.exe)
	cmd.Env = append(os.Environ(), "TEST_OUTPOST="+o.dir, "TEST_LINEAGE="+o.dir, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	cmd.Stdout, cmd.Stderr = out, out
	return cmd
}

// man starts the outpost, and returns when these instances serve.
func (o *outpost) man(names ...string) {
	o.t.Helper()
	o.cmd = o.command()
	if err := o.cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.serve(names...)
}

// lives fails the test if the outpost's process has ended.
func (o *outpost) lives() {
	o.t.Helper()
	if o.cmd.Process != nil && testproc.Gone(o.cmd.Process.Pid) {
		o.t.Fatalf("the outpost has ended:\n%s", o.said(0))
	}
}

// serve waits until these instances do, under the present process.
func (o *outpost) serve(names ...string) {
	o.t.Helper()
	testproc.Until(o.t, fmt.Sprint(names, " serve"), func() bool {
		o.lives()
		all, err := o.api.Overview(o.t.Context())
		return err == nil && all.PID == o.cmd.Process.Pid && !slices.ContainsFunc(names, func(n string) bool {
			return !slices.ContainsFunc(all.Services, func(st client.Status) bool { return st.Service == n && st.State == client.Serving })
		})
	})
}

func (o *outpost) status(name string) client.Status {
	o.t.Helper()
	all, err := o.api.Overview(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	for _, st := range all.Services {
		if st.Service == name {
			return st
		}
	}
	o.t.Fatalf("there is no %s", name)
	return client.Status{}
}

// pid is the process that serves.
func (o *outpost) pid(name string) int {
	o.t.Helper()
	st := o.status(name)
	for _, g := range st.Generations {
		if g.Role == client.RoleServing {
			return g.PID
		}
	}
	o.t.Fatalf("%s does not serve: %+v", name, st)
	return 0
}

// kill ends the outpost as a supervisor should not end.
func (o *outpost) kill() {
	o.cmd.Process.Kill()
	o.cmd.Wait()
}

// says waits until the outpost has written something new with text in it, from an
// offset on, and returns the line.
func (o *outpost) says(from int, text string) (line string) {
	o.t.Helper()
	testproc.Until(o.t, fmt.Sprintf("the outpost says %q", text), func() bool {
		for l := range strings.Lines(o.said(from)) {
			if strings.HasSuffix(l, "\n") && strings.Contains(l, text) {
				line = l
				return true
			}
		}
		return false
	})
	return line
}

// said is what it has written from an offset on.
func (o *outpost) said(from int) string {
	o.t.Helper()
	text, err := os.ReadFile(o.out)
	if err != nil {
		o.t.Fatal(err)
	}
	return string(text[min(from, len(text)):])
}

// limit sets a resource limit of the outpost alone, and returns what it was.
func (o *outpost) limit(resource int, soft uint64) (before uint64) {
	o.t.Helper()
	var old unix.Rlimit
	pid := o.cmd.Process.Pid
	err := unix.Prlimit(pid, resource, nil, &old)
	if err == nil {
		err = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: soft, Max: old.Max}, nil)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return old.Cur
}

// descriptors are those that a process has open.
func descriptorsOf(t *testing.T, pid int) (numbers []int) {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		n, _ := strconv.Atoi(e.Name())
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}

// post is a member of an outpost that serves at a port of its own.
func post(t *testing.T, name string, env ...string) supervise.Member {
	m := tenant(t, name, append([]string{"TEST_OUTPOST="}, env...)...)
	m.Backoff = supervise.Backoff{First: 50 * time.Millisecond, Max: 200 * time.Millisecond, Limit: -1}
	return m
}

// address is where an instance serves.
func (o *outpost) address(name string) string { return o.status(name).Sockets[0].Addr }

// client of the service at addr, as a rig without a supervisor.
func visitor(t *testing.T, addr string) *rig { return &rig{t: t, addr: addr} }

// idleProgram is testdata/idle, once for all tests.
var idleProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "segue-idle-")
	if err != nil {
		return "", err
	}
	removeIdle = func() { os.RemoveAll(dir) }
	path := filepath.Join(dir, "idle")
	out, err := exec.Command("go", "build", "-o", path, "./testdata/idle").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("cannot build it: %w\n%s", err, out)
	}
	return path, err
})

var removeIdle = func() {}

// idler is a member that does nothing, in systemd's language.
func idler(t *testing.T, name string) supervise.Member {
	t.Helper()
	path, err := idleProgram()
	if err != nil {
		t.Fatal(err)
	}
	return supervise.Member{Config: supervise.Config{
		Name: name, Argv: []string{path}, Speaks: supervise.SpeaksSystemd, ReadyTimeout: 30 * time.Second, DrainTimeout: 10 * time.Second,
	}}
}
