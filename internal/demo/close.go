//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/segue-go/segue/client"
)

// Bounds of the end. A generation has as long for its drain, and the supervisor
// 15 s more for its cleanups; whoever is told twice is not waited for.
const (
	drainTimeout   = 15 * time.Second
	orderPatience  = drainTimeout + 5*time.Second
	forcedPatience = 10 * time.Second
)

// close ends what is left, however the demo ended: it asks the supervisor, which
// ends the shop in order; asks again, which forces it; and kills both at last,
// since a supervisor that is killed leaves its service serving.
func (s *stage) close() error {
	var err error
	if s.run != nil && s.run.Process != nil && !s.hasEnded(0) {
		err = s.end()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *stage) end() error {
	for _, patience := range []time.Duration{orderPatience, forcedPatience} {
		s.run.Process.Signal(syscall.SIGTERM)
		if s.hasEnded(patience) {
			return nil
		}
	}
	s.run.Process.Kill()
	<-s.ended
	if s.watched != nil {
		<-s.watched
	}
	for _, pid := range s.pids {
		syscall.Kill(-pid, syscall.SIGKILL) // each generation leads a group
	}
	return fmt.Errorf("`segue run` did not end and was killed, with the shop's processes %v:\n%s", s.pids, s.log.String())
}

// watch notes which generations live, until the supervisor is gone: one that does
// not answer any more cannot be asked. end reads pids after that.
func (s *stage) watch(living []client.Generation) {
	defer close(s.watched)
	for _, g := range living {
		s.pids = append(s.pids, g.PID)
	}
	client.New(s.api()).Events(context.Background(), "", func(e client.Event) error {
		switch {
		case e.Kind == client.EventExit:
			s.pids = slices.DeleteFunc(s.pids, func(pid int) bool { return pid == e.PID })
		case e.PID != 0 && !slices.Contains(s.pids, e.PID):
			s.pids = append(s.pids, e.PID)
		}
		return nil
	})
}

// hasEnded waits for the end of the supervisor, for at most this long.
func (s *stage) hasEnded(within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-s.ended:
		return true
	default:
	}
	select {
	case <-s.ended:
		return true
	case <-late.C:
		return false
	}
}

func (s *stage) api() string { return filepath.Join(s.dir, "shop", "api.sock") }
