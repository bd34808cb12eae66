// Package conns is the connection layer: it decides which connections a server
// accepts, knows every one of them until it is gone, and says goodbye to each
// in the way its protocol understands.
//
// A [Gate] is a listener that can be shut and opened again. An [HTTP] sits
// under one *http.Server. A [Tracker] does the counting alone, for servers that
// are not net/http.
//
// To leave without losing a request:
//
//	gate.Shut()             // the successor accepts from now on
//	h.Announce()            // every client is told, at the Pace
//	err := h.Wait(ctx)      // and goes when it has its answer
//	cut := h.Cut()          // the budget is over: what was left, by name
//	err = h.Shutdown(ctx)   // http.Server.Shutdown, with nothing left to harm
//
// # What is promised
//
//  1. No connection is closed before Cut (or CutIdle), except those of WebSockets and
//     event streams that were told goodbye (see [HTTP.Announce]) or have reached one of
//     the [Limits], and those that net/http closes anyway: the response said Connection: close, a time-out that the
//     *http.Server sets, a protocol error. [http.Server.Shutdown] and
//     SetKeepAlivesEnabled(false) close idle connections under the client's
//     next request and drop requests that have been read (golang/go#36819,
//     #23829); neither is called before Shutdown.
//  2. After Gate.Shut has returned, this process accepts nothing, and what it
//     had accepted is tracked: Wait cannot miss a connection between the two.
//  3. The listening socket is shared with other processes. Nothing here calls
//     shutdown(2) on it, unlinks its path unasked, or changes its blocking mode.
//  4. Wait returns nil only when every connection has been closed and every
//     handler of theirs has returned. It does not poll.
//  5. Cut and CutIdle name everything that they close.
//  6. No user code runs under a lock of this package, but for a [Journal] and a
//     [Framer].
//
// # What is not
//
//   - Announce, Refuse, Cut and Shutdown cannot be undone: GOAWAY has no opposite.
//     Only the Gate is reversible.
//   - A client that stays silent is not told anything: HTTP/1 has no message for
//     it. Its idle connection is kept until Wait's context ends.
//   - A response whose request was in flight when Announce was called does not say
//     Connection: close; the next one on that connection does.
//   - A client may send a new HTTP/2 stream before it has read the GOAWAY. The
//     server ignores it, and the client may send it again elsewhere, whatever its
//     method (RFC 9113, section 6.8). One that does not loses it.
//   - With a listener other than a Gate there is a moment between accept and
//     tracking in which Wait does not see a connection.
//
// The caller owes: a bare listener (TLS is set on the *http.Server, not in the
// listener), an *http.Server whose hooks are set before NewHTTP, and every
// hijacked connection closed through the net.Conn that Hijack returned.
package conns
