// Package testnet puts distance between a client and a server of the same
// machine. Its Proxy carries TCP and unix connections and delays everything a
// real path would delay: bytes, FIN, RST and the handshake. Loopback alone
// flatters every restart, because there the client learns of a close before it
// can write its next request.
//
// Guarantees:
//
//  1. Nothing arrives earlier than the one-way latency after it was sent, in
//     either direction. There is no upper bound: the machine may be busy.
//  2. Bytes arrive complete and in order, and an ending arrives after the
//     bytes sent before it.
//  3. A FIN arrives as a FIN and closes one direction only; an RST arrives as an
//     RST, also one that follows a FIN, and also while the other side is not
//     reading.
//  4. The server sees a connection one latency after the client opened it, and
//     the client's first byte three latencies after that opening (SYN, SYN-ACK,
//     data).
//  5. Close cuts every connection and returns when every goroutine has ended.
//
// Not promised: the client's connect(2) itself succeeds at once, since only
// the proxy's kernel answers it; a server that refuses the connection is
// experienced as an RST after one round trip. Each direction buffers up to a
// megabyte beyond what the kernels do. A unix socket knows no RST: it is
// closed instead. Recognising an RST after a FIN needs poll(2) and is done on
// Linux only; elsewhere it is noticed with the next write.
package testnet
