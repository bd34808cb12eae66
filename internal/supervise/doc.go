// Package supervise owns the sockets of services and the processes that serve
// them: it starts, restarts, drains and ends generations.
//
// Guarantees:
//
//  1. The sockets are opened once and not closed while a generation wants them,
//     so that a client that connects while nothing serves waits instead of being
//     refused.
//  2. One goroutine, that of [Service.Run], writes the state of the service and
//     of its generations; the table in state.go is all that can happen.
//  3. A restart is a transaction (handover.Restart): until the new generation
//     has survived probation the old one can take the service back.
//  4. Every generation that was started ends: it is asked, asked again, killed
//     with its process group, and reaped.
//  5. A service's output goes to a file, or the journal: the end of the supervisor
//     neither breaks nor blocks it.
//  6. A [Supervisor] that is killed leaves its services serving, and the next one
//     of the same plan takes them over; one that is upgraded stays the same
//     process. Neither loses a connection, nor starts anything anew.
//  7. A change of the plan that cannot be made changes nothing.
//
// Not promised: a program that does not speak the control wire cannot be tried
// or paused; it gets start-new-then-stop-old, and its report says so. One that
// speaks nothing is stopped before its successor is started. What was being done at
// the moment of a kill is not finished: of the two generations of a restart one goes
// on. The exit status of a generation that was taken over after a kill is its
// parent's to know, who is gone. The package knows nothing of package segue: it
// supervises any program that speaks systemd's contract.
package supervise
