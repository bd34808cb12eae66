package conns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// parcel is what another process has to know of a connection besides its
// descriptor. It may hold keys (tls): nothing of it is ever printed.
type parcel struct {
	kind          kind
	local, remote string // addresses as they are printed
	network       string
	head          []byte // of the request to serve again; nil of a connection between two requests
	carry         []byte // came from the client and was not dealt with
	state         []byte
	saved         bool
	group         string // "" if it is in none
	grouped       bool   // groupState is that of the group: one of its parcels has it
	groupState    []byte
	answer        answer
	tls           []byte // nil without TLS
	fresh         bool   // it has had no request yet
	born          int64  // when it became live, in nanoseconds since 1970
}

// parcelVersion is the first byte of a parcel.
const parcelVersion = 1

const (
	flagSaved = 1 << iota
	flagTLS
	flagHead
	flagFresh
	flagGroup
	flags = iota
)

func (p *parcel) encode() []byte {
	f := byte(0)
	for i, set := range []bool{p.saved, p.tls != nil, p.head != nil, p.fresh, p.grouped} {
		if set {
			f |= 1 << i
		}
	}
	b := []byte{parcelVersion, byte(p.kind), f}
	b = binary.AppendUvarint(b, uint64(p.answer.status))
	b = binary.AppendUvarint(b, uint64(p.born))
	for _, s := range []string{p.network, p.local, p.remote, p.group, p.answer.protocol, p.answer.extensions} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, s := range [][]byte{p.head, p.carry, p.state, p.groupState, p.tls} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

var errParcel = errors.New("cannot read a parcel: it is not whole")

// decodeParcel is strict. What it returns shares no memory with b.
func decodeParcel(b []byte) (*parcel, error) {
	if len(b) < 3 {
		return nil, errParcel
	}
	if b[0] != parcelVersion {
		return nil, fmt.Errorf("cannot read a parcel of version %d: this side knows %d; the two generations are too far apart", b[0], parcelVersion)
	}
	p := &parcel{kind: kind(b[1])}
	f := b[2]
	if p.kind >= kinds || f>>flags != 0 {
		return nil, errParcel
	}
	b = b[3:]
	number := func() uint64 {
		n, k := binary.Uvarint(b)
		if k <= 0 || k > 1 && b[k-1] == 0 { // there is one way to write a number
			b = nil
			return math.MaxUint64
		}
		b = b[k:]
		return n
	}
	whole := true
	next := func() []byte {
		n := number()
		if n > uint64(len(b)) {
			whole, b = false, nil
			return nil
		}
		field := append([]byte{}, b[:n]...)
		b = b[n:]
		return field
	}
	status := number()
	whole = status < 1000
	p.answer.status, p.answer.done = int(status%1000), true
	born := number()
	whole = whole && born <= math.MaxInt64
	p.born = int64(born)
	for _, s := range []*string{&p.network, &p.local, &p.remote, &p.group, &p.answer.protocol, &p.answer.extensions} {
		*s = string(next())
	}
	for _, s := range []*[]byte{&p.head, &p.carry, &p.state, &p.groupState, &p.tls} {
		*s = next()
	}
	if !whole || len(b) > 0 {
		return nil, errParcel
	}
	p.saved, p.fresh, p.grouped = f&flagSaved != 0, f&flagFresh != 0, f&flagGroup != 0
	for _, s := range []struct {
		field *[]byte
		there bool
	}{{&p.state, p.saved}, {&p.groupState, p.grouped}, {&p.tls, f&flagTLS != 0}, {&p.head, f&flagHead != 0}} {
		if !s.there && len(*s.field) > 0 {
			return nil, errParcel
		}
		if !s.there {
			*s.field = nil
		}
	}
	if (p.head == nil) != (p.kind == kindHTTP1) || p.kind == kindHTTP2 || p.grouped && p.group == "" {
		return nil, errParcel
	}
	return p, nil
}
