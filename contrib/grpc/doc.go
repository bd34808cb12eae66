// Package grpcsegue serves gRPC in a service under package segue:
//
//	server := grpcsegue.New(grpc.Creds(creds))
//	pb.RegisterOrdersServer(server, orders)
//	app.Serve("grpc", ":9090", server)
//
// Guarantees:
//
//  1. Until it is told to leave, nothing about the server is changed.
//  2. When a successor serves, or the service leaves for good, every client is
//     told with GOAWAY, and every call that this server has begun is finished,
//     within Options.DrainTimeout. During a handover the successor has the same
//     socket: a client that connects again finds it there.
//  3. A client that honours GOAWAY loses no call. A call whose stream is above
//     GOAWAY's last id was not begun, and the client may send it again, whatever
//     its method (RFC 9113, section 6.8); gRPC's clients do so by themselves.
//  4. When the budget ends, the calls that are left are cut, and their
//     connections named in the report.
//
// Not promised:
//
//   - A stream without an end (a watch, a subscription) holds the drain until the
//     budget ends. End it when its server leaves, and have its client open it
//     again; see [Server.Leaving].
//   - GOAWAY cannot be taken back. That is why it is said only when the successor
//     has survived its probation: until then the server goes on as before, and
//     only its gate is shut.
//   - A handler that ignores the end of its context outlives Shutdown, and ends
//     with the process.
//
// The caller owes: a server that listens through segue alone. Serve, Stop and
// GracefulStop are Segue's to call.
package grpcsegue
