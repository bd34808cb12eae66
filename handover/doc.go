// Package handover is the wire: everything that passes from one generation of
// a service to the next, and between a generation and whoever supervises it.
//
// Guarantees:
//
//  1. A descriptor has a name and one owner. Sockets are passed by name
//     (LISTEN_FDS and LISTEN_FDNAMES, sd_listen_fds(3)); passing one never
//     changes the blocking mode of the description that two processes share.
//  2. Readiness is a message, never a timer (READY=1, sd_notify(3)).
//  3. A verb sent over a [Link] is answered when what it asks for has happened,
//     not when it was received.
//  4. Death is EOF or a reaped process, never a polled pid. [Start] owns the
//     wait for the child it starts, [Watch] that for the one it follows, which is
//     named by its start time too.
//  5. In a [Restart] the old generation is not touched before the new one has
//     proven itself on probe connections, and can resume until the new one has
//     survived probation.
//  6. A message from a stranger (another user, a process that is not of the
//     generation it names) is refused.
//  7. A connection that moves ([Departure], [Arrival]) is one side's or the
//     other's at any instant, whichever of them dies, and when.
//
// Not promised: links and descriptor passing work on Linux only; elsewhere the
// functions that need them return an error wrapping [errors.ErrUnsupported].
// Whether the clients of a generation lose anything is decided by the layer
// that drains them, package conns.
//
// The wire itself is specified in docs/PROTOCOL.md.
package handover
