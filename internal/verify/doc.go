// Package verify proves, or disproves, that a service loses nothing while it is
// restarted. A Run drives mixed traffic over raw connections, keeps a ledger of
// every request, and compares it with the ledger the service has kept.
//
// Guarantees:
//
//  1. No request is ever repeated to hide a failure. There are two exceptions,
//     both a client's right in the protocol: an HTTP/2 stream above the last
//     stream id of a GOAWAY may be sent again on a new connection (RFC 9113,
//     section 6.8), and an SSE client connects again with Last-Event-ID.
//  2. A request counts as ok only when its complete answer has arrived with the
//     expected status, the id it was sent with, and the right body. Everything
//     else is a loss, with its cause. A 503 is a loss.
//  3. The client honours what a correct client must honour and nothing else:
//     after `Connection: close` or GOAWAY it uses a new connection. It never
//     looks whether an idle HTTP/1.1 connection has been closed meanwhile.
//  4. Stop lets what is in flight finish, so that every request ends as ok or
//     lost and none is unknown.
//  5. What the service has recorded survives SIGKILL of the service.
//  6. The same seed gives each worker the same sequence of requests and times;
//     their ids differ, so that one service ledger can serve many runs.
//
// Not promised: a bound on the load generator's own delay (KindResult.Behind
// tells it); that a kind sent enough to conclude anything (Err says so
// when a kind sent nothing, Bound tells what zero losses of so many mean);
// ledgers that survive a power failure.
//
// The service owes an echo of the header X-Request-Id, and, for the comparison,
// a record of each id it has applied. Handler does both; a middleware can.
package verify
