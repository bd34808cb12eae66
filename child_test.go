package segue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What a test tells the service that it starts; see child.
const (
	envPlan    = "SEGUE_TEST_PLAN"    // file with what the next generation is to do
	envAddr    = "SEGUE_TEST_ADDR"    // where to serve
	envOptions = "SEGUE_TEST_OPTIONS" // Options that differ, as KEY=DURATION, separated by spaces
)

// Budgets of a handover between children, unless a test says otherwise.
const (
	childTrial     = 50 * time.Millisecond
	childProbation = 300 * time.Millisecond
)

// exitForced is the status of a child that was forced to leave.
const exitForced = 4

// children are the services that a child can be.
var children = map[string]func(context.Context, *App) error{"web": childWeb, "solo": childSolo, "two": childTwo}

// child is the service: this test binary, started by a test or by its own
// predecessor. It says what happens on standard output, an event a line.
func child(name string) int {
	setup, ok := children[name]
	if name == "listen" {
		if err := ListenAndServe(os.Getenv(envAddr), http.HandlerFunc(sayPID)); err != nil {
			return 1
		}
		return 0
	}
	if !ok {
		return 2
	}
	o := Options{
		Trial: childTrial, Probation: childProbation,
		IdleTimeout: 200 * time.Millisecond, DrainTimeout: patience / 2,
		Events: func(e Event) { tell(fmt.Sprintf("%T", e), e.String()) },
	}
	for _, kv := range strings.Fields(os.Getenv(envOptions)) {
		k, v, _ := strings.Cut(kv, "=")
		d, err := time.ParseDuration(v)
		if err != nil {
			return 2
		}
		*map[string]*time.Duration{"start": &o.StartTimeout, "trial": &o.Trial, "probation": &o.Probation, "drain": &o.DrainTimeout, "task": &o.TaskTimeout}[k] = d
	}
	err := Run(context.Background(), o, setup)
	tell("end", fmt.Sprint(err))
	switch {
	case errors.Is(err, ErrForced):
		return exitForced
	case err != nil:
		return 1
	}
	return 0
}

var telling sync.Mutex

// tell writes one line, in one write: lines of two processes do not mix.
func tell(kind, text string) {
	telling.Lock()
	defer telling.Unlock()
	if len(text) > 2000 {
		text = text[:2000]
	}
	os.Stdout.WriteString(fmt.Sprintf("%d\t%s\t%s\n", os.Getpid(), kind, strconv.Quote(text)))
}

func sayPID(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body) // as slowly as the client sends it
	io.WriteString(w, strconv.Itoa(os.Getpid()))
}

// childWeb does what the plan says, in every generation but the first.
func childWeb(ctx context.Context, app *App) error {
	plan := "ok"
	if app.Generation() > 1 {
		data, err := os.ReadFile(os.Getenv(envPlan))
		if err != nil {
			return err
		}
		plan = string(data)
	}
	switch plan {
	case "exit":
		os.Exit(3)
	case "error":
		return errors.New("the new version is broken")
	case "hang":
		tell("hangs", "")
		select {} // and ignores that its time is over
	}
	app.HTTP("web", os.Getenv(envAddr), http.HandlerFunc(sayPID))
	app.Check("plan", func(context.Context) error {
		trial, probation := app.Phase() == Paused, app.Phase() == Ready
		switch {
		case plan == "sick in trial" && trial, plan == "sick in probation" && probation:
			return errors.New("sick")
		case plan == "sick when told" && probation:
			if now, err := os.ReadFile(os.Getenv(envPlan)); err != nil || string(now) == "sick" {
				return errors.New("sick, as told")
			}
		case plan == "exit in trial" && trial, plan == "exit in probation" && probation:
			os.Exit(3)
		}
		return nil
	})
	app.Reload("plan", func(context.Context) error { return nil })
	return nil
}

// childSolo has a solo task, which says when it runs.
func childSolo(ctx context.Context, app *App) error {
	app.HTTP("web", os.Getenv(envAddr), http.HandlerFunc(sayPID))
	app.Solo("relay", func(ctx context.Context) error {
		tell("solo", "begins")
		<-ctx.Done()
		tell("solo", "ends")
		return nil
	})
	return nil
}

// childTwo has three servers, one of another protocol.
func childTwo(_ context.Context, app *App) error {
	app.Serve("echo", "127.0.0.1:0", newEcho())
	app.HTTP("web", "127.0.0.1:0", http.HandlerFunc(sayPID))
	app.HTTP("admin", "127.0.0.1:0", http.HandlerFunc(sayPID))
	return nil
}
