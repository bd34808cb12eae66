// Package segue lets a Go service start, restart, upgrade, reload and leave
// without a client noticing.
//
// In place of router.Run(":8080"):
//
//	err := segue.ListenAndServe(":8080", router)
//
// or, with everything a service has besides its router, [Run].
//
// Guarantees:
//
//  1. One goroutine, that of [Run], writes the phase of a service. Whatever
//     changes the phase returns after it has changed.
//  2. A service is ready after setup has returned, every server has its socket
//     and every check has passed; not before, and not by a timer.
//  3. It leaves in this order: stop accepting (with a successor) or refuse
//     clearly (without), let live connections go on in the successor, say
//     goodbye to the others, wait, only then http.Server.Shutdown, then join
//     tasks, then clean up in reverse order. An idle keep-alive connection that
//     was not told is not closed before its budget ends. Package conns says which
//     connections go on; when none can, because the successor was built with an
//     older version or dies, all of them are told and waited for.
//  4. Every wait has a budget ([Options]). A step that hangs or panics costs
//     its own budget and no other; what is cut is counted and named in the
//     [Report].
//  5. During a handover the old process serves until the new one has proven
//     itself, and can take the service back until it has survived probation and
//     the move of live connections.
//  6. The package never exits the process, never writes to a global logger and
//     never reads flags. It tells what happens as events.
//
// Not promised: a client that ignores `Connection: close` or GOAWAY, or whose
// connection stays idle for longer than the budget and speaks in the very
// moment in which it is closed, can see a reset. Handing over needs Linux.
package segue
