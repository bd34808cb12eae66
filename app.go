package segue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/segue-go/segue/handover"
)

// Server is anything that serves a listener and can be asked to finish:
// *http.Server, or gRPC's through contrib/grpc.
//
// Serve must return after Shutdown was called. Shutdown must stop accepting,
// finish what is under way and return; when ctx ends before that, it must cut
// the rest and return.
type Server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}

// App is what setup fills in. Its methods may be called from several
// goroutines, until setup has returned; a later registration is refused with a
// [Problem] event and changes nothing.
type App struct {
	m *machine

	mu       sync.Mutex
	frozen   bool
	servers  []*server
	checks   []named
	tasks    []task
	cleanups []named
	reloads  []named
	errs     []error
}

// named is a function of the user's with the name under which it is reported.
type named struct {
	name string
	f    func(context.Context) error
}

type task struct {
	named
	solo bool
}

// HTTP serves h at addr. Timeouts, TLS and protocols are those of a zero
// http.Server but for ReadHeaderTimeout, which is 10 s; give a server of your
// own to [App.Serve] for others.
//
// addr is host:port, :port or unix:/path. A socket that this process was given
// under this name is used instead of addr. Serving starts when setup has
// returned; an address that cannot be had makes [Run] fail.
func (a *App) HTTP(name, addr string, h http.Handler) {
	a.Serve(name, addr, &http.Server{Handler: h, ReadHeaderTimeout: readHeaderTimeout})
}

// Serve serves s at addr, as [App.HTTP] does. An *http.Server gets the whole
// connection layer of package conns: its Handler, ConnState and ConnContext are
// wrapped, and it serves TLS when its TLSConfig can. Any other server is asked
// to Shut down when the service says goodbye, and is counted by connection.
func (a *App) Serve(name, addr string, s Server) {
	a.register(func() {
		if err := handover.CheckName(name); err != nil {
			a.errs = append(a.errs, err)
		}
		for _, other := range a.servers {
			if other.name == name {
				a.errs = append(a.errs, fmt.Errorf("cannot serve %q twice: give each server a name of its own", name))
			}
		}
		a.servers = append(a.servers, &server{name: name, addr: addr, impl: s})
	})
}

// Check adds a condition of readiness: f is called until it returns nil, with
// growing pauses of up to a second, all checks side by side. Afterwards it is
// called whenever somebody asks whether the service is well. f must honour ctx.
func (a *App) Check(name string, f func(context.Context) error) {
	a.register(func() { a.checks = append(a.checks, named{name, f}) })
}

// Go runs f in every generation from the moment it is ready. ctx ends when the
// service closes, after the last request; f should then return. A task that
// returns earlier is reported; with an error it makes the service leave, and
// [Run] return it.
func (a *App) Go(name string, f func(context.Context) error) {
	a.register(func() { a.tasks = append(a.tasks, task{named{name, f}, false}) })
}

// Solo runs f in one generation at a time: it starts when this one serves and
// the old one's solo tasks have returned, or its process is gone. ctx ends as
// soon as a successor has taken over, before the drain; without a successor it
// ends with the tasks of [App.Go]. Exclusion is by a lock that the kernel
// releases with its holder, so it holds across crashes, on one host.
func (a *App) Solo(name string, f func(context.Context) error) {
	a.register(func() { a.tasks = append(a.tasks, task{named{name, f}, true}) })
}

// Cleanup runs f at the end, after every task was joined, in reverse order of
// registration, also when setup failed. Each has a budget of its own, after
// which its ctx ends and the next one's turn has come whether or not it
// returned; a panic is its error.
func (a *App) Cleanup(name string, f func(context.Context) error) {
	a.register(func() { a.cleanups = append(a.cleanups, named{name, f}) })
}

// Reload runs f, after those registered before it, when SIGHUP or the
// supervisor asks for it. The first error ends the reload and is reported; f
// must then have changed nothing.
func (a *App) Reload(name string, f func(context.Context) error) {
	a.register(func() { a.reloads = append(a.reloads, named{name, f}) })
}

// Readiness says whether the service should get traffic: nil once it is ready,
// not leaving, and every check passes. It runs the checks, side by side, until
// ctx ends.
func (a *App) Readiness(ctx context.Context) error {
	if p := a.Phase(); p != Ready && p != Paused {
		return fmt.Errorf("the service is %v", p)
	}
	return runChecks(ctx, a.m.registeredChecks())
}

// Phase is the phase the service is in.
func (a *App) Phase() Phase { return Phase(a.m.current.Load()) }

// Generation is the number of this process in its lineage, from 1; 0 when
// nobody counts.
func (a *App) Generation() int { return a.m.in.Generation }

// register adds something, unless setup is over.
func (a *App) register(add func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.frozen {
		a.m.out.emit(Problem{errors.New("cannot register anything after setup has returned: call App's methods inside setup")})
		return
	}
	add()
}

// freeze ends registration and returns what was wrong with it.
func (a *App) freeze() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frozen = true
	return errors.Join(a.errs...)
}
