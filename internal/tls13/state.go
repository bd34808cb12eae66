package tls13

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// State is what another process needs to go on with a connection. It holds
// secrets: whoever has it can read and forge everything that is still to be sent.
// Printing it shows none of them.
//
// The zero State is none of a connection; MarshalBinary and Resume refuse it.
type State struct {
	Suite            uint16 // cipher suite, as in tls.ConnectionState
	ALPN             string // the protocol agreed on; may be empty
	ServerName       string // by SNI; may be empty
	PeerCertificates [][]byte
	DidResume        bool // by a session ticket
	HelloRetry       bool
	ECHAccepted      bool
	CurveID          tls.CurveID

	// A pointer to a pointer, because fmt asks no methods of a State in an unexported
	// field: it shows an address for this one, but follows a single pointer where the
	// verb does not fit. Nil in the zero State.
	hidden **traffic
}

// traffic is the part of a State that must not be seen.
type traffic struct {
	InSecret, OutSecret []byte // application traffic secrets
	InSeq, OutSeq       uint64 // records that these have protected so far
	RawIn               []byte // read from the connection, not decrypted
	Plain               []byte // decrypted, not read yet
	Hand                []byte // beginning of an unfinished KeyUpdate
	Useless             uint8  // records in a row that brought no data
	Owed                bool   // the client waits for a KeyUpdate in return
}

// seal puts t into s.
func (s *State) seal(t traffic) {
	p := &t
	s.hidden = &p
}

// Limits of what a State holds. crypto/tls reads ahead into a buffer that grows
// with its use, to a few records; a certificate message ends at 256 KiB there.
const (
	maxReadAhead    = 128 << 10
	maxCertificates = 256 << 10 // bytes
	maxName         = 1<<16 - 1
	maxUseless      = 16
)

var errNoState = errors.New("tls13: not the state of a connection")

// keyUpdate is the beginning of every KeyUpdate: type and length (RFC 8446,
// section 4.6.3). One byte follows: 1 asks for a KeyUpdate in return, 0 does not.
var keyUpdate = [...]byte{24, 0, 0, 1}

// check is nil for a State that Resume can go on with.
func (s State) check() error {
	if s.hidden == nil {
		return errNoState
	}
	t := *s.hidden
	u := suiteOf(s.Suite)
	if u == nil {
		return fmt.Errorf("tls13: unknown cipher suite %#04x", s.Suite)
	}
	certificates := 0
	for _, c := range s.PeerCertificates {
		if len(c) == 0 {
			return errNoState
		}
		certificates += len(c)
	}
	switch {
	case len(t.InSecret) != u.secret || len(t.OutSecret) != u.secret:
		return errors.New("tls13: a traffic secret has the wrong length")
	case len(t.RawIn) > maxReadAhead:
		return errors.New("tls13: too much was read ahead")
	case len(t.Plain) > maxPlaintext:
		return errors.New("tls13: unread data of more than a record")
	case !bytes.HasPrefix(keyUpdate[:], t.Hand):
		return errors.New("tls13: the client is in the middle of a message that is not a KeyUpdate")
	case t.Useless > maxUseless:
		return errors.New("tls13: too many useless records")
	case len(s.ALPN) > maxName || len(s.ServerName) > maxName:
		return errors.New("tls13: a name is too long")
	case certificates > maxCertificates || len(s.PeerCertificates) > maxName:
		return errors.New("tls13: certificates are too long")
	}
	return nil
}

// String names the cipher suite and nothing that is secret.
func (s State) String() string {
	return "tls13.State(" + tls.CipherSuiteName(s.Suite) + ")"
}

// Format writes String, whatever the verb.
func (s State) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText is String; encoding/json and encoding/xml use it.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String.
func (s State) LogValue() slog.Value { return slog.StringValue(s.String()) }
