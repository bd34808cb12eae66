package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/segue-go/segue/handover"
)

// Spec is what is to happen in the new process before the program begins. The zero
// value is nothing: the program is what the supervisor is.
type Spec struct {
	User      string           // name or number; "" is the supervisor's
	Group     string           // name or number; "" is the user's
	Umask     *fs.FileMode     // nil is the supervisor's
	Limits    map[string]Limit // by name in lower case without RLIMIT_: "nofile"
	ListenPID bool             // LISTEN_PID and WATCHDOG_PID are the program's own pid, for programs that insist on systemd's contract
}

// Limit is a resource limit (setrlimit(2)); Infinity for none.
type Limit struct{ Soft, Hard uint64 }

// Infinity is RLIM_INFINITY.
const Infinity = ^uint64(0)

// Zero says whether there is nothing to do.
func (s Spec) Zero() bool {
	return s.User == "" && s.Group == "" && s.Umask == nil && len(s.Limits) == 0 && !s.ListenPID
}

// Check says what of s cannot be done on this machine by this process.
func (s Spec) Check() error {
	if s.Zero() {
		return nil
	}
	_, err := s.instruct(handover.Command{})
	return err
}

// Start starts c so; what it returns is c's process. The zero Spec is [handover.Start].
// An error says why nothing was started: without one the program has been executed.
func (s Spec) Start(c handover.Command) (*handover.Process, error) {
	if s.Zero() {
		return handover.Start(c)
	}
	i, err := s.instruct(c)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c.Path, err)
	}
	return i.start(c)
}

// instruction is a Spec in numbers, for one program: what the new process is told, as
// JSON, whose strings would not take every path and variable.
type instruction struct {
	Path      []byte
	Env       [][]byte
	ListenPID bool
	Limits    []limit
	Account   *account     // nil changes nobody
	Umask     *fs.FileMode // nil changes nothing
}

type limit struct {
	Name     string
	Resource int
	Limit
}

// instruct says what cannot be done, all of it.
func (s Spec) instruct(c handover.Command) (instruction, error) {
	i := instruction{Path: []byte(c.Path), ListenPID: s.ListenPID, Umask: s.Umask}
	for _, kv := range c.Environ() {
		i.Env = append(i.Env, []byte(kv))
	}
	var errs []error
	if s.Umask != nil && *s.Umask&^fs.ModePerm != 0 {
		errs = append(errs, fmt.Errorf("cannot set umask %#o: it has no bits but those of 0777", uint32(*s.Umask)))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Limits)) {
		l, err := limitOf(name, s.Limits[name])
		i.Limits, errs = append(i.Limits, l), append(errs, err)
	}
	if s.User != "" || s.Group != "" {
		a, err := accountOf(s.User, s.Group)
		errs = append(errs, err)
		if err == nil {
			i.Account, err = a.permitted()
			errs = append(errs, err)
		}
	}
	return i, errors.Join(append(errs, supported())...)
}
