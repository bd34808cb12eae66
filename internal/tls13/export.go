package tls13

import (
	"crypto/tls"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// ErrLayout is wrapped by the errors of Export and Supported when crypto/tls of
// this Go version is not the one that this package knows.
var ErrLayout = errors.New("tls13: crypto/tls of this Go version keeps its state elsewhere")

// slot is a field of tls.Conn that a State is made of.
type slot int

const (
	isClient slot = iota
	active        // calls of Write under way, and whether Close was called
	retries
	goodbyeSent
	goodbyeErr
	buffering
	sendBuf
	inErr
	inSeq
	inSecret
	outErr
	outSeq
	outSecret
	rawBuf // read ahead: a bytes.Buffer
	rawOff
	handBuf // handshake messages: a bytes.Buffer
	handOff
	plainBuf // decrypted, unread: a bytes.Reader
	plainOff
)

// layout says where each slot is, and of which type: a field that is renamed,
// moved or changed is an error then, not a misunderstanding. It holds for Go 1.24
// to 1.26; Supported finds out about the version at hand.
var layout = [...]struct{ path, kind string }{
	isClient:    {"isClient", "bool"},
	active:      {"activeCall.v", "int32"},
	retries:     {"retryCount", "int"},
	goodbyeSent: {"closeNotifySent", "bool"},
	goodbyeErr:  {"closeNotifyErr", "error"},
	buffering:   {"buffering", "bool"},
	sendBuf:     {"sendBuf", "[]uint8"},
	inErr:       {"in.err", "error"},
	inSeq:       {"in.seq", "[8]uint8"},
	inSecret:    {"in.trafficSecret", "[]uint8"},
	outErr:      {"out.err", "error"},
	outSeq:      {"out.seq", "[8]uint8"},
	outSecret:   {"out.trafficSecret", "[]uint8"},
	rawBuf:      {"rawInput.buf", "[]uint8"},
	rawOff:      {"rawInput.off", "int"},
	handBuf:     {"hand.buf", "[]uint8"},
	handOff:     {"hand.off", "int"},
	plainBuf:    {"input.s", "[]uint8"},
	plainOff:    {"input.i", "int64"},
}

// Export copies what c is out of it. c must be quiet (see the package comment); it
// is not changed and can go on if the State is thrown away.
//
// It is an error if c is no server's, is not TLS 1.3, has not completed its
// handshake, has failed, is closed in either direction, is in the middle of a call
// of Write, or has a layout that is not known (ErrLayout).
func Export(c *tls.Conn) (State, error) {
	s, client, err := extract(c)
	if err == nil && client {
		err = errors.New("tls13: not the server's side of a connection")
	}
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return State{}, err
	}
	return s, nil
}

// extract does that for either side, which the self-test and tests want.
func extract(c *tls.Conn) (s State, client bool, err error) {
	about := c.ConnectionState()
	switch {
	case about.Version != tls.VersionTLS13:
		return State{}, false, errors.New("tls13: not TLS 1.3")
	case !about.HandshakeComplete:
		return State{}, false, errors.New("tls13: the handshake is not complete")
	}
	defer func() {
		if p := recover(); p != nil { // reflect panics where a type is not as expected
			s, err = State{}, fmt.Errorf("%w: %v", ErrLayout, p)
		}
	}()
	v := viewOf(c)
	switch {
	case v.get(active).Int() != 0:
		return State{}, false, errors.New("tls13: the connection is being written to, or closed")
	case v.get(goodbyeSent).Bool() || !v.get(goodbyeErr).IsNil():
		return State{}, false, errors.New("tls13: our side has said goodbye")
	case !v.get(inErr).IsNil() || !v.get(outErr).IsNil():
		return State{}, false, errors.New("tls13: the connection has failed, or the client has said goodbye")
	case v.get(buffering).Bool() || v.get(sendBuf).Len() != 0:
		return State{}, false, errors.New("tls13: the connection has not written everything")
	}
	s = State{
		Suite:      about.CipherSuite,
		ALPN:       about.NegotiatedProtocol,
		ServerName: about.ServerName,
		DidResume:  about.DidResume, HelloRetry: about.HelloRetryRequest,
		ECHAccepted: about.ECHAccepted, CurveID: about.CurveID,
	}
	s.seal(traffic{
		InSecret: v.rest(inSecret, 0), OutSecret: v.rest(outSecret, 0),
		InSeq: v.count(inSeq), OutSeq: v.count(outSeq),
		RawIn:   v.rest(rawBuf, v.get(rawOff).Int()),
		Plain:   v.rest(plainBuf, v.get(plainOff).Int()),
		Hand:    v.rest(handBuf, v.get(handOff).Int()),
		Useless: uint8(min(v.get(retries).Int(), maxUseless)),
	})
	for _, p := range about.PeerCertificates {
		s.PeerCertificates = append(s.PeerCertificates, p.Raw)
	}
	return s, v.get(isClient).Bool(), nil
}

// view reads a tls.Conn by the layout. Its methods panic where that is wrong.
type view struct{ conn reflect.Value }

func viewOf(c *tls.Conn) view { return view{reflect.ValueOf(c).Elem()} }

func (v view) get(s slot) reflect.Value {
	at := v.conn
	for name := range strings.SplitSeq(layout[s].path, ".") {
		if at = at.FieldByName(name); !at.IsValid() {
			panic("no field " + layout[s].path)
		}
	}
	if kind := at.Type().String(); kind != layout[s].kind {
		panic("field " + layout[s].path + " is a " + kind)
	}
	return at
}

// rest is a copy of a slice of bytes from an offset.
func (v view) rest(s slot, from int64) []byte {
	b := v.get(s).Bytes()
	if from < 0 || from > int64(len(b)) {
		panic("field " + layout[s].path + " ends before its offset")
	}
	return append([]byte(nil), b[from:]...)
}

// count is a sequence number.
func (v view) count(s slot) (n uint64) {
	for _, b := range v.get(s).Bytes() {
		n = n<<8 | uint64(b)
	}
	return n
}
