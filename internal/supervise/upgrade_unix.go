//go:build unix

package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/segue-go/segue/client"
	"golang.org/x/sys/unix"
)

// proofTimeout bounds the question to another segue command whether it is one.
const proofTimeout = 10 * time.Second

// Upgrade executes another segue command in the place of this one: the process
// stays, with its children, and the new program goes on with every socket, lock and
// state. No service is told anything. It does not return then; an error says why
// nothing was done. Services must be at rest: no restart may be under way.
func (s *Supervisor) Upgrade(ctx context.Context, r client.UpgradeRequest) error {
	binary := r.Binary
	if binary == "" {
		var err error
		if binary, err = os.Executable(); err != nil {
			return refusal(fmt.Errorf("cannot tell which file to execute: %w; name it with --binary", err))
		}
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		return refusal(err)
	}
	if err := prove(ctx, binary); err != nil {
		return refusal(err)
	}
	if !s.acting.TryLock() {
		return &client.Error{Message: "cannot upgrade now: services are being started or changed", Hint: "wait until that is over; `segue status` shows it"}
	}
	defer s.acting.Unlock()
	if err := s.unchanged(); err != nil { // the next program has nothing else to go by
		return refusal(err)
	}
	running := s.begun()
	for _, sv := range running {
		release, err := sv.hold()
		if err != nil {
			return err
		}
		defer release()
	}
	waiting, err := s.waiting(running)
	if err != nil {
		return err
	}
	w := &will{numbers: map[string]int{}}
	defer w.revoke()
	for _, sv := range slices.Concat(running, waiting) {
		if err := sv.bequeath(w); err != nil {
			return refusal(err)
		}
	}
	if err := errors.Join(w.leave("lock", s.home.lock), s.leaveMore(w)); err != nil {
		return refusal(err)
	}
	variable, err := w.variable()
	if err != nil {
		return refusal(err)
	}
	env := append(slices.Concat(os.Environ(), s.upstream.environ()), variable)
	s.upstream.flush()
	var files unix.Rlimit
	limited := unix.Getrlimit(unix.RLIMIT_NOFILE, &files)
	err = fmt.Errorf("cannot execute %s: %w", binary, w.execute(binary, env))
	if limited == nil { // Exec has put it back to what this process was started with
		unix.Setrlimit(unix.RLIMIT_NOFILE, &files)
	}
	return refusal(err)
}

// prove asks a file whether it is a segue command of this API: once it is executed
// there is no way back.
func prove(ctx context.Context, binary string) error {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	var out strings.Builder
	cmd := exec.CommandContext(ctx, binary, "version", "--json")
	cmd.Stdout = &out
	forget, err := offspring.start(func() (int, error) {
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	})
	if err != nil {
		return fmt.Errorf("cannot execute %s: %w; build it, or correct the path", binary, err)
	}
	err = cmd.Wait()
	forget()
	var v client.Version
	if err == nil {
		err = json.Unmarshal([]byte(out.String()), &v)
	}
	if err != nil || v.API != client.APIVersion {
		return fmt.Errorf("cannot put %s in the place of this supervisor: it does not answer `version --json` as a segue command of API %d does (%v); name another file with --binary",
			binary, client.APIVersion, err)
	}
	return nil
}

// begun are the services whose loops run.
func (s *Supervisor) begun() (all []*Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances() {
		if i.life != nil && i.life.begun {
			all = append(all, i.life.service)
		}
	}
	return all
}

// waiting are the services whose loops do not run, and will not while those that do
// are held, since what they wait for does not become ready then. An error says that
// this is not the moment.
func (s *Supervisor) waiting(held []*Service) (all []*Service, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil, &client.Error{Message: "cannot upgrade now: the supervisor is about to end"}
	}
	for _, i := range s.instances() {
		switch {
		case i.life == nil || slices.Contains(held, i.life.service):
		case i.life.begun || i.life.service.adopted || len(s.missing(i.member)) == 0:
			return nil, &client.Error{Message: fmt.Sprintf("cannot upgrade now: %s is being started", i.name), Hint: "wait until it serves; `segue status` shows it"}
		default:
			all = append(all, i.life.service)
		}
	}
	return all, nil
}

// hold stops the loop, at rest, until release. Who is not at rest is not held.
func (s *Service) hold() (release func(), err error) {
	released, held := make(chan struct{}), make(chan error, 1)
	go func() {
		err := s.do(func() error {
			if s.try != nil || len(s.view.alive) > 1 || s.view.state == client.Stopping {
				return &client.Error{Message: fmt.Sprintf("cannot upgrade while %s is %s", s.name, s.view.state), Hint: "wait until it serves; `segue status` shows how far it is"}
			}
			s.remember()
			held <- nil
			<-released
			return nil
		})
		if err == errEnded {
			err = &client.Error{Message: fmt.Sprintf("cannot upgrade now: %s is about to end", s.name), Hint: "try again in a moment"}
		}
		select {
		case held <- err:
		default:
		}
	}()
	if err := <-held; err != nil {
		return nil, err
	}
	return func() { close(released) }, nil
}

// bequeath leaves what the next program needs of this service. The loop is held, or
// does not run.
func (s *Service) bequeath(w *will) error {
	leave := func(what string, f *os.File) error { return w.leave(s.name+"/"+what, f) }
	errs := []error{leave("lock", s.home.lock), leave("solo", s.common.solo)}
	for what, get := range map[string]func() (*os.File, error){"control": s.hub.control.File, "notify": s.hub.notify.File} {
		f, err := get()
		if err == nil {
			err = leave(what, f)
			f.Close()
		}
		errs = append(errs, err)
	}
	for _, o := range s.common.sockets.each() {
		errs = append(errs, leave("socket/"+o.Name, o.File))
	}
	if s.recipe.file != nil {
		errs = append(errs, leave("program", s.recipe.file.file))
	}
	if s.previous != nil && s.previous.file != nil {
		errs = append(errs, leave("previous", s.previous.file.file))
	}
	return errors.Join(errs...)
}

// Bequeath has Upgrade leave one descriptor more under a name, by which the next
// program finds it with [Supervisor.Inherited].
func (s *Supervisor) Bequeath(name string, file func() (*os.File, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.more[name] = file
}

func (s *Supervisor) leaveMore(w *will) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for name, get := range s.more {
		f, err := get()
		if err == nil {
			err = w.leave(name, f)
			f.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
