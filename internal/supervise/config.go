package supervise

import (
	"io/fs"
	"syscall"
	"time"

	"github.com/segue-go/segue/internal/launch"
)

// What a Config means that leaves these out.
const (
	DefaultDrainTimeout = 30 * time.Second // an old generation may take to leave
	DefaultKillAfter    = 2 * time.Second  // between the second stop signal and SIGKILL
	DefaultProbeTimeout = 5 * time.Second

	DefaultBackoff    = 500 * time.Millisecond // the first pause, doubled from crash to crash
	DefaultMaxBackoff = time.Minute
	DefaultCrashLimit = 5                // crashes in a row, then the service has failed
	DefaultStable     = 10 * time.Second // one that has served for as long has not crashed "again"

	DefaultLogSize = 64 << 20 // bytes
	DefaultLogKeep = 20       // generations, and archives of each
)

// Config is one service. Nothing changes it once it was given to [New].
type Config struct {
	Name       string   // of the service, and of its directory
	Argv       []string // program and arguments
	Dir        string   // working directory of the service; "" is the supervisor's
	Env        []string // K=V, added to the supervisor's environment
	Speaks     Language // what the program understands
	Listen     []Listen // sockets the service is given
	RuntimeDir string   // of this service: sockets, lock and logs

	User   string           // runs the service; "" is the supervisor's
	Group  string           // "" is the user's
	Umask  *fs.FileMode     // nil is the supervisor's
	Limits map[string]Limit // by name in lower case without RLIMIT_: "nofile"

	ReadyTimeout time.Duration
	Trial        time.Duration
	Probation    time.Duration
	DrainTimeout time.Duration
	Probes       []Probe        // all must succeed; none: only the generation's own checks
	StopSignal   syscall.Signal // of what does not speak the control wire; 0 is SIGTERM
	KillAfter    time.Duration  // 0 is DefaultKillAfter

	Restart  Policy // "" is OnFailure
	Expected []int  // exit codes that are no failure, beside 0
	Backoff  Backoff
	Watchdog time.Duration // 0: none. A generation that has not said WATCHDOG=1 for as long is killed
	Hooks    []Hook
	Logs     Logs
}

// Language is what a program understands.
type Language string

// The languages.
const (
	SpeaksSegue   Language = ""        // package segue, or the control wire by itself; also of those that only speak systemd's and do not look at LISTEN_PID
	SpeaksSystemd Language = "systemd" // LISTEN_FDS with LISTEN_PID, NOTIFY_SOCKET
	SpeaksNothing Language = "nothing" // opens its own sockets: the old one is stopped before the new one starts
)

// Listen is a socket to own: Addr is host:port, :port or unix:/path. The others
// are of a unix socket: 0 is 0600, "" is the service's user and group.
type Listen struct {
	Name, Addr   string
	Mode         fs.FileMode
	Owner, Group string
}

// Limit is a resource limit (setrlimit(2)); Infinity for none.
type Limit = launch.Limit

// Infinity is RLIM_INFINITY.
const Infinity = launch.Infinity

// Probe is what a generation on trial or probation must stand. Exactly one of
// Path, TCP and Command is set.
type Probe struct {
	Socket  string        // for Path and TCP; "" is the one called "web", or the first
	Path    string        // GET must be answered with a status below 400
	TCP     bool          // a connection must be accepted
	Command []string      // must exit with status 0; it is run as the service is, with SEGUE_PROBE_PID
	Timeout time.Duration // 0 is DefaultProbeTimeout
}

// Policy says after which ends of a serving generation the next is started.
type Policy string

// The policies. An end that nobody asked for is a failure when its exit code is
// not expected.
const (
	OnFailure Policy = "on-failure"
	Always    Policy = "always"
	Never     Policy = "never"
)

// Backoff says how a service that crashes is started again: after First, doubled
// from crash to crash up to Max, each 20% more or less. Limit crashes in a row end
// in failed; a generation that served for Stable begins a new row. 0 is the
// default, a negative Limit none.
type Backoff struct {
	First, Max, Stable time.Duration
	Limit              int
}

// Hook is told of what must not go unnoticed. Exactly one of Command and URL is set.
type Hook struct {
	On      []Occasion // none: all of them
	Command []string   // gets the event as JSON on its standard input
	URL     string     // gets it with POST
}

// Occasion is what a hook is told of.
type Occasion string

// The occasions.
const (
	OnRollback  Occasion = "rollback"
	OnCrash     Occasion = "crash"
	OnCrashLoop Occasion = "crash-loop" // a second crash in a row
	OnFailed    Occasion = "failed"
)

// Logs says what becomes of the service's output.
type Logs struct {
	To    Output
	Size  int64         // bytes of one generation's log after which it is archived; 0 is DefaultLogSize, negative never
	Age   time.Duration // after which it is archived; 0 is never
	Keep  int           // archives of a generation, and generations; 0 is DefaultLogKeep
	Plain bool          // archives are not compressed
}

// Output is where output goes.
type Output string

// The outputs.
const (
	ToFile    Output = ""        // a file for each generation, in RuntimeDir
	ToParent  Output = "inherit" // the supervisor's own, unlabelled
	ToJournal Output = "journald"
)
