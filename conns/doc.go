// Package conns is the connection layer: it decides which connections a server
// accepts, knows every one of them until it is gone, hands those that can go on in
// another process to it, and says goodbye to the others in the way their protocol
// understands.
//
// A [Gate] is a listener that can be shut and opened again. An [HTTP] sits
// under one *http.Server. A [Tracker] does the counting alone, for servers that
// are not net/http.
//
// To leave without losing a request:
//
//	gate.Shut()                    // the successor accepts from now on
//	account := h.Depart(ctx, way)  // what can go on there does; optional
//	h.Announce()                   // every other client is told, at the Pace
//	err := h.Wait(ctx)             // and goes when it has its answer
//	cut := h.Cut()                 // the budget is over: what was left, by name
//	err = h.Shutdown(ctx)          // http.Server.Shutdown, with nothing left to harm
//
// The successor calls [HTTP.Arrive]; a [Carrier] is what lies between. Connections
// of HTTP/1.1 move by themselves between two requests, and so do event streams
// that have sent ids. A handler declares with [Movable] that a WebSocket, a stream
// without ids or, with [Framing], another upgraded protocol may, keeps what it
// means with [Save], and finds that again with [Resumed]. [Group] is for those that
// must not be in two processes.
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
//  4. Wait returns nil only when every connection has moved, or has been closed
//     and every handler of it has returned. It does not poll.
//  5. Cut and CutIdle name everything that they close.
//  6. No user code runs under a lock of this package, but for a [Journal] and a
//     [Framer].
//  7. A connection that moves is read and written by one process at a time, at any
//     time. What either side sends is neither lost nor doubled nor reordered. Until
//     the other process has said that it serves the connection, and its answer was
//     read, the connection can go on here as if nothing had happened, and does if
//     anything goes wrong.
//  8. For the handler of a connection that has moved nothing ends: it gets no
//     error, its context does not end, and its Read does not return. What is
//     written to a WebSocket is forwarded.
//  9. What does not move is told, and counted by the reason why it stays
//     ([Departed], [HTTP.Told]): what was upgraded, and event streams, at the Pace,
//     the rest with its next answer, or a GOAWAY.
//
// # What is not
//
//   - Announce, Depart, Refuse, Cut and Shutdown cannot be undone: GOAWAY has no
//     opposite. The Gate is reversible, and Move leaves everything as it was for
//     whoever has not moved.
//   - HTTP/2, TLS before 1.3, and compression that keeps a context from message to
//     message do not move. Nor does what nobody has declared: only an application
//     knows whether the meaning of a connection is in its request.
//   - The request of a WebSocket or stream is served once more in the other process,
//     with its middleware. What that does happens again, unless it asks Resumed.
//   - Close, and a Close frame with what is written behind it, of a process that a
//     connection has left do not reach its client: a process that ends must not end
//     what it does not have.
//   - What the old handler of an event stream writes after it has moved is dropped:
//     the stream goes on behind the id that the client has had.
//   - A client that stays silent and cannot move is not told anything: HTTP/1 has no
//     message for it. Its idle connection is kept until Wait's context ends.
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
