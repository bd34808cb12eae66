package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/control"
	"github.com/segue-go/segue/internal/supervise"
)

// What a fake that executes itself passes on: the descriptor of the API socket,
// and how often it has restarted what.
const (
	passedOn  = "FAKE_API"
	passedNum = "FAKE_RESTARTS"
)

func init() { programs["fake"] = fake }

// fake NAME is a supervisor without services: what it says of three of them is
// made up, and so is what becomes of everything that it is asked for.
func fake() {
	if err := serveFake(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveFake(name string) error {
	dir := filepath.Join(runtimeDir(), name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f := &fakeSupervisor{name: name, began: time.Now(), ended: make(chan struct{}), restarts: map[string]int{}, state: map[string]client.State{"worker": client.Failed}}
	json.Unmarshal([]byte(os.Getenv(passedNum)), &f.restarts)
	var err error
	if fd, atoi := strconv.Atoi(os.Getenv(passedOn)); atoi == nil {
		f.api, err = control.ListenFrom(os.NewFile(uintptr(fd), "api"), supervise.APISocket(dir), f)
	} else {
		f.api, err = control.Listen(supervise.APISocket(dir), -1, f)
	}
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- f.api.Serve() }()
	<-f.ended
	return errors.Join(f.api.Shutdown(context.Background()), <-served)
}

type fakeSupervisor struct {
	name  string
	began time.Time
	api   *control.Server
	ended chan struct{}

	mu       sync.Mutex
	subs     []chan client.Event
	restarts map[string]int
	state    map[string]client.State
}

func (f *fakeSupervisor) Overview() client.Overview {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := client.Overview{Name: f.name, PID: os.Getpid(), Version: "v0.0.0-fake", File: "/srv/segue.yaml", Since: f.began}
	for _, name := range []string{"db", "web.1", "web.2", "worker"} {
		s := client.Status{Service: name, State: client.Serving, Since: began, Restarts: f.restarts[name]}
		if state, ok := f.state[name]; ok {
			s.State, s.Reason = state, "it is made up"
		} else {
			s.Generations = []client.Generation{*f.generation(name, 1+f.restarts[name])}
			s.Sockets = []client.Socket{{Name: strings.TrimRight(name, ".12"), Addr: "127.0.0.1:8080"}}
		}
		o.Services = append(o.Services, s)
	}
	return o
}

func (f *fakeSupervisor) generation(service string, n int) *client.Generation {
	return &client.Generation{Number: n, PID: 1000 + n, Role: client.RoleServing, Binary: "/srv/" + service, Started: began, Managed: true}
}

func (f *fakeSupervisor) publish(e client.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ch := range f.subs {
		ch <- e
	}
}

func (f *fakeSupervisor) Subscribe() (<-chan client.Event, func()) {
	ch := make(chan client.Event, 1024)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs = append(f.subs, ch)
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.subs = slices.DeleteFunc(f.subs, func(c chan client.Event) bool { return c == ch })
	}
}

// do is an action: what becomes of it is in the table of outcomes.
func (f *fakeSupervisor) do(action, service string) (client.Report, error) {
	sum := client.Report{Service: service, Action: action, Outcome: client.Done, Began: time.Now(), Took: time.Second}
	instances := f.Overview().Of(service)
	for _, s := range instances {
		part := sum
		part.Service, part.Parts, part.Unchanged = s.Service, nil, nil
		switch {
		case action == "reload" && service == "" && s.Service != "worker":
			sum.Unchanged = append(sum.Unchanged, s.Service)
			continue
		case s.Service == "worker":
			part.Outcome, part.Reason = map[string]client.Outcome{"stop": client.Forced, "start": client.Broken, "reload": client.Done}[action], "it is made up"
			if part.Outcome == "" {
				part.Outcome = client.RolledBack
			}
		case action != "stop" && action != "reload":
			f.mu.Lock()
			f.restarts[s.Service]++
			part.From, part.To = f.generation(s.Service, f.restarts[s.Service]), f.generation(s.Service, f.restarts[s.Service]+1)
			f.mu.Unlock()
			step := client.Step{Name: "ready", Took: time.Millisecond}
			part.Steps = []client.Step{step}
			f.publish(client.Event{Service: s.Service, Kind: client.EventState, State: client.Restarting})
			f.publish(client.Event{Service: s.Service, Kind: client.EventStep, Step: &step, Ended: true})
		}
		f.publish(client.Event{Service: s.Service, Kind: client.EventReport, Report: &part})
		if len(instances) == 1 {
			return part, nil
		}
		if sum.Parts = append(sum.Parts, part); part.Outcome != client.Done {
			sum.Outcome = part.Outcome
		}
	}
	return sum, nil
}

func (f *fakeSupervisor) Restart(_ context.Context, service string, _ client.RestartRequest) (client.Report, error) {
	return f.do("restart", service)
}
func (f *fakeSupervisor) Rollback(_ context.Context, service string) (client.Report, error) {
	if service == "db" {
		return client.Report{}, errors.New("cannot roll back db: there was no generation before; restart it with a --binary")
	}
	return f.do("rollback", service)
}
func (f *fakeSupervisor) Start(_ context.Context, service string) (client.Report, error) {
	return f.do("start", service)
}
func (f *fakeSupervisor) Reload(_ context.Context, service string) (client.Report, error) {
	return f.do("reload", service)
}
func (f *fakeSupervisor) Stop(_ context.Context, service string) (client.Report, error) {
	r, err := f.do("stop", service)
	if service == "" {
		close(f.ended)
	}
	return r, err
}

// Upgrade executes this program again, which goes on with the socket.
func (f *fakeSupervisor) Upgrade(_ context.Context, r client.UpgradeRequest) error {
	if r.Binary != "" {
		return fmt.Errorf("cannot execute %s: it is made up; take another one", r.Binary)
	}
	file, err := f.api.File()
	if err != nil {
		return err
	}
	fd := -1
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	raw.Control(func(orig uintptr) { fd, err = syscall.Dup(int(orig)) }) // which exec leaves open
	if err != nil {
		return err
	}
	restarts, err := json.Marshal(f.restarts)
	if err != nil {
		return err
	}
	os.Setenv(passedOn, strconv.Itoa(fd))
	os.Setenv(passedNum, string(restarts))
	self, err := exec.LookPath(os.Args[0]) // not what it links to: the name says which program it is
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, os.Environ())
}

func (f *fakeSupervisor) Logs(ctx context.Context, r client.LogsRequest, w io.Writer) error {
	for _, s := range f.Overview().Of(r.Service) {
		label := ""
		if r.Label {
			label = fmt.Sprintf("%s.%d | ", s.Service, max(1, r.Generation))
		}
		fmt.Fprintf(w, "%sthis is %s %d\n", label, s.Service, r.Generation)
	}
	f.mu.Lock()
	fmt.Fprintln(w, len(f.subs), "follow")
	f.mu.Unlock()
	if r.Follow {
		<-ctx.Done()
	}
	return nil
}

func (f *fakeSupervisor) Reader(int, []int) bool { return false }
