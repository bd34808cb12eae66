package tls13

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
)

// encoding is the version of the format below, its first byte. Another one is
// refused: the caller keeps the connection where it is.
const encoding = 1

var errEncoding = errors.New("tls13: not an encoded state")

// Flags of the encoding.
const (
	flagResumed = 1 << iota
	flagHelloRetry
	flagECH
	flagOwed
	flagsKnown = 1<<iota - 1
)

// MarshalBinary encodes s, secrets included. The error is that of a State that
// Resume would not take.
func (s State) MarshalBinary() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	t := *s.hidden
	b := []byte{encoding, s.flags(), t.Useless}
	b = binary.BigEndian.AppendUint16(b, s.Suite)
	b = binary.BigEndian.AppendUint16(b, uint16(s.CurveID))
	b = binary.BigEndian.AppendUint64(b, t.InSeq)
	b = binary.BigEndian.AppendUint64(b, t.OutSeq)
	for _, field := range [...][]byte{t.InSecret, t.OutSecret, t.RawIn, t.Plain, t.Hand, []byte(s.ALPN), []byte(s.ServerName)} {
		b = appendField(b, field)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.PeerCertificates)))
	for _, c := range s.PeerCertificates {
		b = appendField(b, c)
	}
	return b, nil
}

func (s State) flags() (flags byte) {
	set := func(flag byte, on bool) {
		if on {
			flags |= flag
		}
	}
	set(flagResumed, s.DidResume)
	set(flagHelloRetry, s.HelloRetry)
	set(flagECH, s.ECHAccepted)
	set(flagOwed, (*s.hidden).Owed)
	return flags
}

func appendField(b, field []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(field))), field...)
}

// UnmarshalBinary is the opposite of MarshalBinary. It refuses everything that
// MarshalBinary would not have written, and leaves s alone then. It keeps no part
// of data.
func (s *State) UnmarshalBinary(data []byte) error {
	d := decoder{data: data}
	if d.byte() != encoding {
		return errEncoding
	}
	flags := d.byte()
	var n State
	t := traffic{Useless: d.byte()}
	n.Suite = uint16(d.uint(2))
	n.CurveID = tls.CurveID(d.uint(2))
	t.InSeq = d.uint(8)
	t.OutSeq = d.uint(8)
	t.InSecret, t.OutSecret = d.field(), d.field()
	t.RawIn, t.Plain, t.Hand = d.field(), d.field(), d.field()
	n.ALPN, n.ServerName = string(d.field()), string(d.field())
	for i := d.uint(2); i > 0 && !d.short; i-- {
		n.PeerCertificates = append(n.PeerCertificates, d.field())
	}
	if d.short || len(d.data) > 0 || flags > flagsKnown {
		return errEncoding
	}
	n.DidResume, n.HelloRetry = flags&flagResumed != 0, flags&flagHelloRetry != 0
	n.ECHAccepted, t.Owed = flags&flagECH != 0, flags&flagOwed != 0
	n.seal(t)
	if err := n.check(); err != nil {
		return err
	}
	*s = n
	return nil
}

// decoder takes its data apart from the front. What is not there is zero, and
// short says so.
type decoder struct {
	data  []byte
	short bool
}

func (d *decoder) take(n uint64) []byte {
	if d.short || n > uint64(len(d.data)) {
		d.short = true
		return nil
	}
	b := d.data[:n]
	d.data = d.data[n:]
	return b
}

func (d *decoder) byte() byte { return byte(d.uint(1)) }

func (d *decoder) uint(size uint64) (n uint64) {
	for _, b := range d.take(size) {
		n = n<<8 | uint64(b)
	}
	return n
}

func (d *decoder) field() []byte {
	return append([]byte(nil), d.take(d.uint(4))...)
}
