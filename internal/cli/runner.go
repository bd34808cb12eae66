package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/control"
	"github.com/segue-go/segue/internal/supervise"
)

// lastWords is how long answers over the API may take when the service has
// ended.
const lastWords = 5 * time.Second

// sayPatience is how long a line to people may hold up what it is about.
const sayPatience = time.Second

// meaning is what a signal asks of `segue run`; the table is in signals_*.go.
type meaning int

const (
	nothing   meaning = iota // and it does not end the process either
	toStop                   // in order; the second time at once
	toReload                 //
	toRestart                //
)

// runner is `segue run` while it lasts. It owns four goroutines: the API's, one
// for events, one for the service's output and one for signals; each reload or
// restart by signal, and each line to people, has one more. run joins them all,
// but for those that write what nobody reads.
type runner struct {
	supervisor *supervise.Supervisor
	plan       supervise.Plan
	screen     *screen
	printer    printer
	stdout     io.Writer
	label      bool
	work       sync.WaitGroup
	cancel     context.CancelFunc // ends the service in order

	mu     sync.Mutex
	forced bool // the service did not end in order
}

func newRunner(c *cli, plan supervise.Plan, supervisor *supervise.Supervisor) *runner {
	r := &runner{supervisor: supervisor, plan: plan, screen: newScreen(c.stderr, "segue | ")}
	r.stdout = r.screen.over(c.stdout)
	several := len(plan.Services) > 1 || plan.Services[0].Instances > 1
	r.printer = &textPrinter{screen: r.screen, all: true, several: several}
	if c.json {
		r.printer = newJSONPrinter(c.stderr)
	} else {
		r.label = isTerminal(c.stdout) || several
	}
	return r
}

func (r *runner) run(ctx context.Context, signals chan os.Signal) error {
	api, err := r.listen()
	if err != nil {
		return errors.Join(err, r.supervisor.Close())
	}
	ctx, r.cancel = context.WithCancel(ctx)
	defer r.cancel()
	events, unsubscribe := r.supervisor.Subscribe()
	defer unsubscribe()
	ended := make(chan struct{})
	following, endFollowing := context.WithCancel(context.Background())
	defer endFollowing()

	r.say(r.greeting())
	served := make(chan error, 1)
	r.work.Go(func() { served <- api.Serve() })
	r.work.Go(func() { r.obey(signals, ended) })
	var told, output sync.WaitGroup
	told.Go(func() { r.tell(events) })
	output.Go(func() { r.follow(following) })

	err = r.supervisor.Run(ctx)
	signal.Stop(signals)
	close(ended)
	// Whoever asked for the stop gets the report; whoever follows, the end.
	leave, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	shut := api.Shutdown(leave)
	endFollowing()
	shut = errors.Join(shut, <-served)
	written := make(chan struct{})
	go func() {
		output.Wait()
		told.Wait() // the service has closed the channel of events
		r.work.Wait()
		close(written)
	}()
	select {
	case <-written:
		return r.result(err, shut)
	case <-time.After(lastWords):
		return said(exitCode(r.result(err, shut))) // nobody reads what we write: why would be lost as well
	}
}

// listen opens the API's socket, or goes on with that of the program that was
// executed before.
func (r *runner) listen() (api *control.Server, err error) {
	path := supervise.APISocket(r.plan.Dir)
	if left := r.supervisor.Inherited("api"); left != nil {
		api, err = control.ListenFrom(left, path, r.supervisor)
	} else {
		api, err = control.Listen(path, r.supervisor.Readers(), r.supervisor)
	}
	if err == nil {
		r.supervisor.Bequeath("api", api.File)
	}
	return api, err
}

// greeting says where the services can be reached.
func (r *runner) greeting() string {
	var where []string
	all := r.supervisor.Overview().Services
	for _, sv := range all {
		var sockets []string
		for _, s := range sv.Sockets {
			sockets = append(sockets, s.Name+" on "+s.Addr)
		}
		text := strings.Join(sockets, ", ")
		if len(all) > 1 {
			text = strings.TrimSpace(sv.Service + " " + text)
		}
		if text != "" {
			where = append(where, text)
		}
	}
	text := ""
	if len(where) > 0 {
		text = ": " + strings.Join(where, "; ")
	}
	return r.screen.style.bold("starting "+r.plan.Name) + text
}

// result is the error and so the exit code of it all.
func (r *runner) result(services, api error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case os.Getpid() == 1 && r.supervisor.ExitCode() != 0:
		return said(r.supervisor.ExitCode())
	case services != nil:
		// The reason was an event.
		return &client.Error{Message: fmt.Sprintf("cannot keep %s running", r.plan.Name),
			Hint: "what its generations wrote is in " + filepath.Join(r.plan.Dir, "*", "logs")}
	case r.forced:
		return said(exitForced)
	}
	return api
}

// tell shows events until there are no more.
func (r *runner) tell(events <-chan client.Event) {
	defer r.printer.close()
	for e := range events {
		if e.Kind == client.EventReport && e.Report.Outcome == client.Forced {
			r.mu.Lock()
			r.forced = true
			r.mu.Unlock()
		}
		r.printer.event(e)
	}
}

// follow shows what the services write, from the first generation of this
// supervisor on: logs of an earlier one are in the same directories.
func (r *runner) follow(ctx context.Context) {
	shown := client.LogsRequest{Generation: supervise.FromHere, Follow: true, Label: r.label}
	if err := r.supervisor.Logs(ctx, shown, r.stdout); err != nil && ctx.Err() == nil {
		r.problem(fmt.Errorf("the output of the services is not shown any more: %w", err))
	}
}

// obey does what signals ask for, until the service has ended.
func (r *runner) obey(signals <-chan os.Signal, ended <-chan struct{}) {
	meanings := signalMeanings()
	stops := 0
	for {
		select {
		case <-ended:
			return
		case s := <-signals:
			switch meanings[s] {
			case toStop:
				stops++
				r.stop(s, stops)
			case toReload:
				r.work.Go(func() { r.problem(r.reload()) })
			case toRestart:
				r.work.Go(func() { r.problem(r.supervisor.RestartAll(context.Background())) })
			}
		}
	}
}

func (r *runner) stop(s os.Signal, times int) {
	if times == 1 {
		r.say(fmt.Sprintf("%s: stopping in order, for at most %v; once more stops at once", signalName(s), r.longest()))
		r.cancel()
		return
	}
	r.say(fmt.Sprintf("%s: stopping at once", signalName(s)))
	r.supervisor.Force()
}

// say tells people; programs have the events. When nobody reads, what was to be
// said is not waited for: a signal is obeyed all the same.
func (r *runner) say(line string) {
	if _, text := r.printer.(*textPrinter); !text {
		return
	}
	written := make(chan struct{})
	r.work.Go(func() { r.screen.print(line); close(written) })
	select {
	case <-written:
	case <-time.After(sayPatience):
	}
}

// longest is the time that a service may take to leave.
func (r *runner) longest() (d time.Duration) {
	for _, m := range r.plan.Services {
		d = max(d, m.DrainTimeout)
	}
	return d
}

func (r *runner) reload() error {
	_, err := r.supervisor.Reload(context.Background(), "")
	return err
}

func (r *runner) problem(err error) {
	if err != nil {
		r.say(r.screen.style.red("problem: ") + err.Error())
	}
}
