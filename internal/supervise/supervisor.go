package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/segue-go/segue/client"
)

// Supervisor is several services under one roof: they have one control API, one
// directory and one life.
type Supervisor struct {
	plan    Plan
	began   time.Time
	service *Service
}

// Open checks p, makes and locks its directory and opens the sockets of its
// services. Nothing is started. An error changes nothing that runs.
func Open(p Plan) (*Supervisor, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	s, err := New(p.Services[0].Config)
	if err != nil {
		return nil, err
	}
	return &Supervisor{plan: p, began: time.Now(), service: s}, nil
}

// Close releases what Open took, if Run was never called.
func (s *Supervisor) Close() error { return s.service.Close() }

// Run starts the services in order and supervises them until all have ended.
func (s *Supervisor) Run(ctx context.Context) error { return s.service.Run(ctx) }

// Force ends everything without waiting any longer.
func (s *Supervisor) Force() { s.service.Force() }

// ExitCode is what a supervisor that is PID 1 of a container passes on.
func (s *Supervisor) ExitCode() int { return s.service.ExitCode() }

// Overview is the present state.
func (s *Supervisor) Overview() client.Overview {
	return client.Overview{
		Name: s.plan.Name, PID: os.Getpid(), Version: s.plan.Version, File: s.plan.File, Since: s.began,
		Services: []client.Status{s.service.Status()},
	}
}

func (s *Supervisor) Restart(ctx context.Context, service string, r client.RestartRequest) (client.Report, error) {
	return s.service.Restart(ctx, r)
}

func (s *Supervisor) Rollback(ctx context.Context, service string) (client.Report, error) {
	return client.Report{}, errors.ErrUnsupported
}

func (s *Supervisor) Start(ctx context.Context, service string) (client.Report, error) {
	return client.Report{}, errors.ErrUnsupported
}

func (s *Supervisor) Stop(ctx context.Context, service string) (client.Report, error) {
	return s.service.Stop(ctx)
}

func (s *Supervisor) Reload(ctx context.Context, service string) (client.Report, error) {
	return client.Report{}, s.service.Reload(ctx)
}

func (s *Supervisor) Upgrade(ctx context.Context, r client.UpgradeRequest) error {
	return errors.ErrUnsupported
}

// Subscribe returns the events of all services.
func (s *Supervisor) Subscribe() (events <-chan client.Event, cancel func()) {
	return s.service.Subscribe()
}

// Logs writes output.
func (s *Supervisor) Logs(ctx context.Context, r client.LogsRequest, w io.Writer) error {
	var label func(int) string
	if r.Label {
		label = func(n int) string { return fmt.Sprintf("%s.%d | ", s.plan.Services[0].Name, n) }
	}
	return s.service.Follow(ctx, r.Generation, r.Follow, label, w)
}

// Reader says whether a user may read the control API.
func (s *Supervisor) Reader(uid int, groups []int) bool { return false }
