package tls13

import (
	"crypto/fips140"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// Conn is the server's side of a TLS 1.3 connection. It is a net.Conn: one Read
// may run beside one Write, further calls wait for each other, Close and the
// deadlines may be called at any time.
type Conn struct {
	nc     net.Conn
	about  State // with nothing hidden
	peers  []*x509.Certificate
	chains [][]*x509.Certificate

	in  *inbox // a pointer, so that fmt does not find its data by itself
	out outbox

	// What the reader leaves to the writer: it never waits for it.
	owed   atomic.Bool   // a KeyUpdate, before the next data
	fatal  atomic.Uint32 // 1 + an alert, at once
	closed atomic.Bool   // Close was called
}

// Resume goes on with the connection that s was exported from, over nc. It neither
// reads nor writes: when it fails, the process that exported s can go on.
//
// verify is the configuration that a handshake would have had here; nil is an
// empty one. The client has to satisfy it as if it had shown its certificates
// again: they are required and verified as ClientAuth says, against ClientCAs at
// this time, and then VerifyPeerCertificate and VerifyConnection are called, the
// former also when the session was resumed by a ticket. A client with certificates
// where none are asked for is refused, and so is every client if GetConfigForClient
// is set: what it would answer cannot be known without the ClientHello.
func Resume(nc net.Conn, s State, verify *tls.Config) (*Conn, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if fips140.Enabled() {
		return nil, errFIPS
	}
	c := &Conn{nc: nc, about: s, in: new(inbox)}
	c.about.hidden = nil
	u, t := suiteOf(s.Suite), *s.hidden
	if err := c.in.init(u, t.InSecret, t.InSeq); err != nil {
		return nil, fmt.Errorf("tls13: %w", err)
	}
	if err := c.out.init(u, t.OutSecret, t.OutSeq); err != nil {
		return nil, fmt.Errorf("tls13: %w", err)
	}
	c.in.load(t)
	c.owed.Store(t.Owed)
	if verify == nil {
		verify = &tls.Config{}
	}
	if err := c.verify(verify); err != nil {
		return nil, err
	}
	return c, nil
}

// State is what another process needs to go on; c is not changed. It is an error
// if c is being read, written or closed, has failed, or is closed in either
// direction.
func (c *Conn) State() (State, error) {
	if !c.in.mu.TryLock() {
		return State{}, errors.New("tls13: the connection is being read")
	}
	defer c.in.mu.Unlock()
	if !c.out.mu.TryLock() {
		return State{}, errors.New("tls13: the connection is being written to")
	}
	defer c.unlockOut()
	switch {
	case c.closed.Load():
		return State{}, net.ErrClosed
	case c.in.err != nil:
		return State{}, fmt.Errorf("tls13: reading has ended: %w", c.in.err)
	case c.out.err != nil:
		return State{}, fmt.Errorf("tls13: writing has ended: %w", c.out.err)
	}
	t := traffic{
		InSecret: c.in.keys.secret, InSeq: c.in.seq,
		OutSecret: c.out.keys.secret, OutSeq: c.out.seq,
		Owed: c.owed.Load(),
	}
	c.in.save(&t)
	s := c.about
	s.seal(t)
	return s, nil
}

// bare is the state of a connection that cannot export keying material, because
// its configuration allows to renegotiate. A tls.ConnectionState that is not made
// by crypto/tls panics when it is asked to.
var bare = tls.Server(nil, &tls.Config{Renegotiation: tls.RenegotiateFreelyAsClient}).ConnectionState()

// ConnectionState is that of the handshake, with the chains that were verified
// here. Its ExportKeyingMaterial returns an error.
func (c *Conn) ConnectionState() tls.ConnectionState {
	s := bare
	s.Version = tls.VersionTLS13
	s.HandshakeComplete = true
	s.DidResume = c.about.DidResume
	s.HelloRetryRequest = c.about.HelloRetry
	s.ECHAccepted = c.about.ECHAccepted
	s.CurveID = c.about.CurveID
	s.CipherSuite = c.about.Suite
	s.NegotiatedProtocol = c.about.ALPN
	s.ServerName = c.about.ServerName
	s.PeerCertificates = c.peers
	s.VerifiedChains = c.chains
	return s
}

// Close says goodbye, within five seconds, and closes the underlying connection.
// If a Write is under way it is cut off, and nothing is said. To leave a connection
// to another process, close NetConn instead.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	var said error
	if c.out.mu.TryLock() {
		said = c.goodbye()
		c.out.mu.Unlock()
	}
	if err := c.nc.Close(); err != nil {
		return err
	}
	return said
}

// CloseWrite says goodbye, within five seconds. Nothing can be written any more;
// the client may go on to write. The underlying connection stays open.
func (c *Conn) CloseWrite() error {
	c.out.mu.Lock()
	defer c.unlockOut()
	return c.goodbye()
}

// NetConn is the underlying connection.
func (c *Conn) NetConn() net.Conn { return c.nc }

// LocalAddr is that of the underlying connection.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr is that of the underlying connection.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// SetDeadline is that of the underlying connection. A Write that it stops is the
// last one; a Read can go on.
func (c *Conn) SetDeadline(t time.Time) error { return c.nc.SetDeadline(t) }

// SetReadDeadline is that of the underlying connection.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

// SetWriteDeadline is that of the underlying connection. A Write that it stops is
// the last one.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.nc.SetWriteDeadline(t) }

// Format names the cipher suite and nothing that is secret, whatever the verb.
func (c *Conn) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "tls13.Conn("+tls.CipherSuiteName(c.about.Suite)+")")
}
