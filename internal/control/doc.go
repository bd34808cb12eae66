// Package control serves the control API of a supervisor: HTTP and JSON over a
// unix socket.
//
// Guarantees:
//
//  1. The user of this process and root may change what runs. Whom the backend
//     calls a reader may look, and nobody else is answered: the socket has mode
//     0600, or 0660 with the readers' group, from the moment it can be found, and
//     the kernel is asked who has connected (SO_PEERCRED and SO_PEERGROUPS,
//     unix(7)).
//  2. What is asked is read strictly: an unknown field, a second value, a body
//     above 64 KiB is refused with what was wrong with it, and nothing happens.
//  3. What was begun goes on when whoever asked for it goes away. A slow reader
//     never holds anything up.
//  4. Every refusal is a JSON [client.Error].
//  5. The API is what its OpenAPI document says: tests derive that from the table
//     of routes and the types of package client, and hold every answer against it.
//
// Not promised: that who comes back to a stream of events learns what happened
// meanwhile. It begins with the present state of each service instead, and events
// have no id that a Last-Event-ID could name. Outside Linux, guarantee 1 rests on
// the mode of the socket alone, so there are no readers.
//
// The routes are the table in routes.go; client.Client is the other end.
package control
