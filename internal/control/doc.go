// Package control serves the control API of a supervisor: HTTP and JSON over a
// unix socket.
//
// Guarantees:
//
//  1. Only the user of this process and root are answered: the socket has mode
//     0600 from the moment it can be found, and on Linux the kernel is asked who
//     has connected (SO_PEERCRED, unix(7)).
//  2. What is asked is read strictly: an unknown field, a second value, a body
//     above 64 KiB is refused with what was wrong with it, and nothing happens.
//  3. A restart or a stop that was begun goes on when whoever asked for it goes
//     away. A slow reader never holds anything up.
//  4. Every refusal is a JSON [client.Error].
//
// Not promised: outside Linux, guarantee 1 rests on the mode of the socket
// alone.
//
// The routes are the table in routes.go; client.Client is the other end.
package control
