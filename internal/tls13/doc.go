// Package tls13 continues, in another process, a TLS 1.3 server connection whose
// handshake crypto/tls did. [Export] takes the [State] out of a *tls.Conn,
// [Resume] makes a [Conn] of it, and Conn.State lets that one move again.
//
// It is a record layer (RFC 8446, sections 4.6.3, 5, 6, 7.2 and 7.3) and no more:
// no handshake, no client, no other version, no session tickets. The ciphers and
// HKDF are those of the standard library and golang.org/x/crypto.
//
// # What is promised
//
//  1. The client cannot tell the difference: what it may send is what crypto/tls
//     of Go 1.26 accepts, limits included, and what it must not send ends with the
//     same alert. (Only a handshake message that is no KeyUpdate ends sooner, by its
//     type.) A differential fuzz test compares the two.
//  2. Export uses reflection and nothing else: no unsafe, no linkname, no fork.
//     [Supported] makes a connection, moves it and says whether that works with
//     this version of Go. A *tls.Conn that is not understood to the last field is
//     an error, never a guess.
//  3. Neither Export nor Resume nor Conn.State reads or writes the connection,
//     and what they were called on can go on if the State is thrown away. Of the
//     two ends of a State only one may go on: with both, one nonce protects two
//     plaintexts.
//  4. A Read that a deadline stops loses nothing, wherever in a record it was, and
//     the connection can go on or move. Read never waits for a Write: the answer
//     to a KeyUpdate leaves with the next Write (RFC 8446, section 4.6.3, wants it
//     no earlier), and an alert is left to the Write that is under way. Where there
//     is none, Read sends the alert itself, within five seconds.
//  5. A Conn that waits for the client holds no record buffer, only 512 bytes.
//  6. Keys and unread data are never printed: fmt, log/slog and encoding/json show
//     a State and a Conn by name and cipher suite, and addresses where they lie in
//     an unexported field. Only MarshalBinary has them.
//  7. No goroutine outlives a call.
//
// # What is not
//
//   - The exporter secret does not move: ConnectionState().ExportKeyingMaterial
//     returns an error. OCSPResponse and SignedCertificateTimestamps are empty.
//   - A State whose client is in the middle of a handshake message that is not a
//     KeyUpdate cannot be exported. (Nothing else is allowed there anyway.)
//   - Deadlines are those of the underlying connection and do not move. A Write
//     that fails, by a deadline too, is the last one: part of a record may be out.
//   - In FIPS 140-3 mode Supported and Resume are errors: this is no validated module.
//
// The caller owes a quiet connection: no Read, Write or Close of it under way, and
// what they did visible to the calling goroutine.
package tls13
