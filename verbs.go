package segue

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/segue-go/segue/handover"
)

// handle does what the supervisor says.
func (l *link) handle(ctx context.Context, r handover.Request) (handover.Fields, error) {
	m := l.m
	switch r.Verb { // those that pass their descriptors on
	case handover.Adopt:
		from, err := peerOf(r, "FROM")
		if err != nil {
			return nil, err
		}
		return nil, m.adopt(r.Files[0], from)
	case handover.Move:
		return m.moveAsked(r)
	case handover.Drain:
		to := m.departureOf(r)
		err := m.leaveWithin(r.Fields["BUDGET"], "a new generation serves", true, to)
		if err != nil && to != nil {
			to.Close()
		}
		return nil, err
	}
	defer r.Close()
	switch r.Verb {
	case handover.Trial:
		return nil, m.do(func() error {
			if m.phase != Paused {
				return fmt.Errorf("cannot be tried while the service is %v", m.phase)
			}
			return nil
		})
	case handover.Probe:
		return nil, m.probe(r)
	case handover.Check:
		return nil, m.app.Readiness(ctx)
	case handover.Open, handover.Resume:
		return nil, m.resume()
	case handover.Pause:
		return nil, m.do(m.pause)
	case handover.Proven:
		return nil, m.do(m.proven)
	case handover.Reload:
		return nil, m.reload(ctx)
	case handover.Lend:
		return l.lend(r)
	case handover.Stop:
		return nil, m.leaveWithin(r.Fields["BUDGET"], "the supervisor stops the service", false, nil)
	}
	return nil, fmt.Errorf("cannot do %s: this generation does not know it", r.Verb)
}

// moveAsked answers when what can go at once has gone.
func (m *machine) moveAsked(r handover.Request) (handover.Fields, error) {
	to, err := wayOf(r)
	if err != nil {
		return nil, err
	}
	d, err := m.move(to)
	if err != nil {
		return nil, err
	}
	<-d.moved
	gone, failure := d.outcome()
	f := handover.Fields{"MOVED": strconv.Itoa(gone)}
	if failure != "" {
		f["FAILURE"] = strings.ReplaceAll(failure, "\x00", "")
	}
	return f, nil
}

// departureOf makes of a DRAIN's descriptors the way on which live connections go.
// Without one, or with one that is of no use, they are drained: nobody loses
// anything by that.
func (m *machine) departureOf(r handover.Request) *handover.Departure {
	if len(r.Files) == 0 {
		return nil
	}
	to, err := wayOf(r)
	if err != nil {
		m.out.emit(Problem{fmt.Errorf("connections do not move: %w", err)})
	}
	return to
}

func wayOf(r handover.Request) (*handover.Departure, error) {
	pid, err := peerOf(r, "TO")
	if err != nil {
		return nil, err
	}
	return handover.NewDeparture(r.Files[0], pid)
}

// peerOf is the process in field key, which is at the other end of the one
// descriptor of r. When it returns an error the descriptors are closed.
func peerOf(r handover.Request, key string) (int, error) {
	pid, err := strconv.Atoi(r.Fields[key])
	switch {
	case len(r.Files) != 1:
		err = fmt.Errorf("%d descriptors came with %s: exactly one is expected", len(r.Files), r.Verb)
	case err != nil || pid <= 0:
		err = fmt.Errorf("%s=%q of %s is not a process", key, r.Fields[key], r.Verb)
	default:
		return pid, nil
	}
	r.Close()
	return 0, err
}

// leaveWithin leaves with the supervisor's budget for lame duck and drain
// together: it will not wait for longer, whatever the service's own options say.
// With a successor live connections go to it by to, which may be nil, and is the
// machine's when no error is returned.
func (m *machine) leaveWithin(budget, reason string, successor bool, to *handover.Departure) error {
	d, err := time.ParseDuration(budget)
	if budget != "" && (err != nil || d < 0) {
		return fmt.Errorf("cannot leave within %q: it is not a duration such as 30s", budget)
	}
	return m.do(func() error {
		if budget != "" && m.phase < Draining {
			if !successor {
				m.opts.LameDuck = min(m.opts.LameDuck, d)
				d -= m.opts.LameDuck
			}
			m.opts.DrainTimeout = d
		}
		if successor {
			return m.leaveTo(reason, to)
		}
		return m.leave(reason, false)
	})
}

// probe hands a connection that the supervisor made to the server it is for.
func (m *machine) probe(r handover.Request) error {
	if p := m.app.Phase(); p == Starting || p >= Closing {
		return fmt.Errorf("cannot be probed while the service is %v", p)
	}
	if len(r.Files) != 1 {
		return fmt.Errorf("cannot be probed with %d connections in one message: exactly one is expected", len(r.Files))
	}
	for _, s := range m.app.servers {
		if s.name != r.Fields["SOCKET"] && !s.any {
			continue
		}
		c, err := net.FileConn(r.Files[0])
		if err != nil {
			return fmt.Errorf("cannot take the probe connection: %w", err)
		}
		if err := s.gate.Inject(c); err != nil {
			c.Close()
			return fmt.Errorf("cannot take the probe connection: %w", err)
		}
		return nil
	}
	return fmt.Errorf("cannot be probed: no server is called %q", r.Fields["SOCKET"])
}
