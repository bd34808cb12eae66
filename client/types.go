package client

import "time"

// APIVersion is the version of the control API; it stands in every path.
const APIVersion = 1

// State of a supervised service.
type State string

// The states of a service.
const (
	Waiting    State = "waiting"     // not started yet: what it depends on is not ready
	Starting   State = "starting"    // the first generation, or the next one after a crash, is coming up
	Serving    State = "serving"     // a generation serves
	Restarting State = "restarting"  // a generation serves, another one is coming up beside it
	BackingOff State = "backing off" // nothing serves; the next start is due after a pause
	Stopping   State = "stopping"    // told to stop; generations drain
	Stopped    State = "stopped"     // ended in order
	Failed     State = "failed"      // nothing serves and nothing will be tried; Reason says why
)

// Overview is a supervisor and what it supervises.
type Overview struct {
	Name     string    `json:"name"`           // of the supervisor: of its file, or of its only service
	PID      int       `json:"pid"`            // of the supervisor
	Version  string    `json:"version"`        // of its segue command
	File     string    `json:"file,omitempty"` // segue.yaml, absolute; "" for `segue run -- PROGRAM`
	Since    time.Time `json:"since"`          // of this supervisor; one that was upgraded or has adopted is younger than its services
	Services []Status  `json:"services"`       // in the order in which they are started
}

// Status of one service, or of one instance of it.
type Status struct {
	Service     string       `json:"service"` // "web"; the others of several instances are "web.2", "web.3"
	State       State        `json:"state"`
	Reason      string       `json:"reason,omitempty"` // of a state that is not the usual one
	Since       time.Time    `json:"since"`            // of the state
	Sockets     []Socket     `json:"sockets"`
	Generations []Generation `json:"generations"`        // alive, oldest first
	Previous    *Generation  `json:"previous,omitempty"` // what Rollback would go back to
	Restarts    int          `json:"restarts"`           // done
	RolledBack  int          `json:"rolled_back"`
	Crashes     int          `json:"crashes"`
	LastReport  *Report      `json:"last_report,omitempty"`
}

// Socket is a named socket that the supervisor owns.
type Socket struct {
	Name string `json:"name"`
	Addr string `json:"addr"` // as bound: host:port or unix:/path
}

// Role of a generation.
type Role string

// The roles of a generation.
const (
	RoleStarting Role = "starting" // not ready yet
	RoleTrial    Role = "trial"    // ready; gets probe connections only
	RoleServing  Role = "serving"  // accepts
	RolePaused   Role = "paused"   // its successor is on probation, or takes its connections over
	RoleDraining Role = "draining" // finishes what it has
	RoleEnding   Role = "ending"   // unwanted, about to be gone
)

// Generation is one process of the service.
type Generation struct {
	Number  int       `json:"number"`
	PID     int       `json:"pid"`
	Role    Role      `json:"role"`
	Binary  string    `json:"binary"`
	Started time.Time `json:"started"`
	Status  string    `json:"status,omitempty"` // what it says of itself (STATUS=)
	Managed bool      `json:"managed"`          // it speaks the control wire: can be tried, paused, resumed
}

// RestartRequest asks for a restart. The zero value restarts what runs.
type RestartRequest struct {
	Binary string `json:"binary,omitempty"` // program of the new generation; "" is the present one
}

// LogsRequest says which output of a service to show. The zero value is what the
// newest generation has written so far.
type LogsRequest struct {
	Service    string `json:"service,omitempty"`    // "" is every service
	Generation int    `json:"generation,omitempty"` // 0 is the newest one; another one needs a Service
	Follow     bool   `json:"follow,omitempty"`     // go on with what comes; for Generation 0 also from every later one
	Label      bool   `json:"label,omitempty"`      // begin each line with "service.generation | "
}

// Outcome of a restart or a stop.
type Outcome string

// The outcomes.
const (
	Done       Outcome = "done"
	RolledBack Outcome = "rolled back" // the old generation serves, as before
	Broken     Outcome = "failed"      // nothing serves
	Forced     Outcome = "forced"      // it ended, but not in order
)

// Report is the account of a restart, a rollback, a stop, a start or a reload.
type Report struct {
	Service    string        `json:"service"` // "" when it is about all
	Action     string        `json:"action"`  // restart, rollback, stop, start, reload
	Outcome    Outcome       `json:"outcome"`
	From       *Generation   `json:"from,omitempty"`
	To         *Generation   `json:"to,omitempty"` // also when it failed
	FailedStep string        `json:"failed_step,omitempty"`
	Reason     string        `json:"reason,omitempty"`
	Began      time.Time     `json:"began"`
	Took       time.Duration `json:"took_ns"`
	Steps      []Step        `json:"steps"`
	Drain      *Drain        `json:"drain,omitempty"`  // of the generation that left
	Output     []string      `json:"output,omitempty"` // the last lines of a generation that failed

	// Lost is what a generation that failed has lost of what it had accepted:
	// requests in flight when it died (State "active" or "hijacked") or was cut
	// off, and connections without one, on which a request may have been on its way.
	Lost     []Cut `json:"lost,omitempty"`
	LostMore int   `json:"lost_more,omitempty"` // that many more could not be named

	// Parts are the reports of which this one is the sum: of instances, or of the
	// services that a reload has started, restarted or stopped. Unchanged are those
	// that it has not touched.
	Parts     []Report `json:"parts,omitempty"`
	Unchanged []string `json:"unchanged,omitempty"`
}

// Step is one step of a restart: spawn, ready, trial, switch, probation, move,
// drain or rollback.
type Step struct {
	Name  string        `json:"name"`
	Began time.Time     `json:"began"`
	Took  time.Duration `json:"took_ns"`
	Note  string        `json:"note,omitempty"`
	Error string        `json:"error,omitempty"`
}

// Drain is how a generation left, as far as it is known: what comes after Told
// is what it said itself.
type Drain struct {
	Took     time.Duration `json:"took_ns"`
	Exit     string        `json:"exit"`   // how its process ended
	Killed   bool          `json:"killed"` // by the supervisor, because its time was over
	Told     bool          `json:"told"`   // it has given an account of itself
	InFlight int           `json:"in_flight"`
	Finished int           `json:"finished"`
	Cut      []Cut         `json:"cut,omitempty"`
	CutMore  int           `json:"cut_more,omitempty"` // that it could not name

	Moved        map[string]int `json:"moved,omitempty"`            // live connections that went on in another generation, by kind
	Stayed       map[string]int `json:"stayed,omitempty"`           // those that could not, by the reason why
	Goodbyes     map[string]int `json:"goodbyes,omitempty"`         // connections that were told to come back, by the reason why
	MoveTook     time.Duration  `json:"move_took_ns,omitempty"`     // before the drain and in it
	LongestPause time.Duration  `json:"longest_pause_ns,omitempty"` // of one connection that moved
	MoveFailure  string         `json:"move_failure,omitempty"`     // why the move ended early: what had not moved by then stayed
}

// Cut is a request, or a connection without one, that was cut off: at the end of
// a budget, or because its process died.
type Cut struct {
	Kind   string        `json:"kind"`
	State  string        `json:"state"`
	Method string        `json:"method,omitempty"`
	Path   string        `json:"path,omitempty"`
	Remote string        `json:"remote"`
	Age    time.Duration `json:"age_ns"`
	Reason string        `json:"reason"`
}

// EventKind says which fields of an [Event] mean something.
type EventKind string

// The kinds of events.
const (
	EventState      EventKind = "state"      // State, Text
	EventGeneration EventKind = "generation" // Generation, Role; Text if it is what the generation says of itself
	EventStep       EventKind = "step"       // Generation, Step; Ended says whether it is over
	EventExit       EventKind = "exit"       // Generation, Text: how it ended
	EventReport     EventKind = "report"     // Report
	EventProblem    EventKind = "problem"    // Text
	EventDropped    EventKind = "dropped"    // Text: this subscriber was too slow
)

// Event is something that happened to a service. A subscriber that is more than
// 1024 events behind misses some, and is told so.
type Event struct {
	Time       time.Time `json:"time"`
	Service    string    `json:"service"`
	Kind       EventKind `json:"kind"`
	Generation int       `json:"generation,omitempty"`
	PID        int       `json:"pid,omitempty"`
	Role       Role      `json:"role,omitempty"`
	State      State     `json:"state,omitempty"`
	Step       *Step     `json:"step,omitempty"`
	Ended      bool      `json:"ended,omitempty"`
	Text       string    `json:"text,omitempty"`
	Report     *Report   `json:"report,omitempty"`
}

// Version says which supervisor answers.
type Version struct {
	Version string `json:"version"` // of the segue command that supervises
	API     int    `json:"api"`     // see [APIVersion]
}

// UpgradeRequest asks for another segue command in the supervisor's place. The
// zero value executes the present one again.
type UpgradeRequest struct {
	Binary string `json:"binary,omitempty"` // "" is the file that the supervisor was started from
}
