// Package stay has clients that stay connected: they never retry, and no
// WebSocket and no event stream of theirs ever connects twice. What they find is
// a [Ledger].
//
// Guarantees:
//
//  1. Everything that was sent or published is accounted for: lost, duplicated,
//     reordered, or well.
//  2. A pause counts from when a message was to be sent, not from when it was: a
//     service that stops the sender is not excused for what it could not send.
//  3. Bytes go out as the clients say: every fifth client cuts whatever it writes
//     at random places, with short pauses between the pieces.
//  4. The same seed gives the same sizes, cuts and pauses. When they meet a
//     restart is for the machine to decide.
//
// Not promised: that the service sees a message in the pieces in which it was
// written, since TCP may join them again.
//
// The caller owes: a topic or a room that is used by one run only, since what a
// subscriber misses at the end is told by what the run has published.
package stay
