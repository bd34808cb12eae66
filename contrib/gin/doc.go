// Package ginsegue has what a Gin router needs to let its connections move to the
// next version of a service under package segue:
//
//	live := router.Group("/ws", ginsegue.Movable())
//	live.GET("/echo", echo)
//
// Guarantees:
//
//  1. A request that is not upgraded and is no event stream is served as it would
//     be without it.
//  2. It works with any WebSocket library, and needs no change in the handlers.
//
// Not promised:
//
//   - That the connection moves: see [conns.Movable] for what that takes.
//   - Anything about Gin's UseH2C, which hijacks connections and hides their
//     requests. Use http.Server.Protocols for HTTP/2 without TLS.
//
// The caller owes: handlers whose meaning is in their request and in what they
// saved with [conns.Save]. The middleware of the group runs once more in the new
// process, for a client that has been let in already; what must not be done
// twice, as accepting a one-time ticket, asks [conns.Resumed].
package ginsegue
