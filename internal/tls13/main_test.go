package tls13

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"
	_ "unsafe" // for linkname

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test that should never take so long.
const patience = 20 * time.Second

// The cipher suites of TLS 1.3 cannot be configured. Tests, and only tests, reach
// for the lists: crypto/tls allows that to all who have done it since long.
//
//go:linkname suitesAES crypto/tls.defaultCipherSuitesTLS13
var suitesAES []uint16

//go:linkname suitesNoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var suitesNoAES []uint16

// useSuite makes crypto/tls agree on one cipher suite until the test ends.
func useSuite(t testing.TB, id uint16) {
	a, b := suitesAES, suitesNoAES
	suitesAES, suitesNoAES = []uint16{id}, []uint16{id}
	t.Cleanup(func() { suitesAES, suitesNoAES = a, b })
}

// authority issues certificates. The zero value of its template makes a server's.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
}

var serials struct {
	sync.Mutex
	last int64
}

func serial() *big.Int {
	serials.Lock()
	defer serials.Unlock()
	serials.last++
	return big.NewInt(serials.last)
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{key: key}
	a.cert = parse(t, create(t, template, template, key.Public(), key))
	a.pool = x509.NewCertPool()
	a.pool.AddCert(a.cert)
	return a
}

func create(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (a *authority) issue(t testing.TB, kind string, usage x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	var key crypto.Signer
	var err error
	if kind == "RSA" {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "somebody"}, DNSNames: []string{"somewhere"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	der := create(t, template, a.cert, key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
}

// sockets are the two ends of a TCP connection.
func sockets(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if b, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if a, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	late := time.Now().Add(patience)
	if err := errors.Join(a.SetDeadline(late), b.SetDeadline(late)); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// connect does a handshake over TCP. The client trusts a.
func (a *authority) connect(t testing.TB, serve, dial *tls.Config) (server, client *tls.Conn) {
	t.Helper()
	x, y := sockets(t)
	if dial == nil {
		dial = &tls.Config{}
	}
	dial.RootCAs, dial.ServerName = a.pool, "somewhere"
	server, client = tls.Server(x, serve), tls.Client(y, dial)
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	if err := errors.Join(server.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return server, client
}

// movable is what can move: a *tls.Conn or a *Conn.
type movable interface {
	net.Conn
	NetConn() net.Conn
}

// transfer moves c as if to another process.
func transfer(t testing.TB, c movable, verify *tls.Config) *Conn {
	t.Helper()
	moved, err := Resume(c.NetConn(), again(t, stateOf(t, c)), verify)
	if err != nil {
		t.Fatal(err)
	}
	return moved
}

func stateOf(t testing.TB, c movable) (s State) {
	t.Helper()
	var err error
	switch c := c.(type) {
	case *tls.Conn:
		s, err = Export(c)
	case *Conn:
		s, err = c.State()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// again is what is left of s after encoding.
func again(t testing.TB, s State) (n State) {
	t.Helper()
	data, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	return n
}

// peer is a client whose records the test makes and reads itself.
type peer struct {
	t       testing.TB
	in, out half
}

// newPeer connects in memory; the State is the server's.
func newPeer(t testing.TB) (State, *peer) {
	t.Helper()
	server, client, _, err := handshake()
	if err != nil {
		t.Fatal(err)
	}
	return stateOf(t, server), peerOf(t, client)
}

func peerOf(t testing.TB, client *tls.Conn) *peer {
	t.Helper()
	s, _, err := extract(client)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t}
	p.must(p.in.init(suiteOf(s.Suite), (*s.hidden).InSecret, (*s.hidden).InSeq))
	p.must(p.out.init(suiteOf(s.Suite), (*s.hidden).OutSecret, (*s.hidden).OutSeq))
	return p
}

func (p *peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) seal(typ byte, payload string) []byte {
	return p.inner(typeApplicationData, append([]byte(payload), typ))
}

// inner protects a whole inner plaintext: content, type and padding.
func (p *peer) inner(outer byte, text []byte) []byte {
	n := len(text) + p.out.keys.aead.Overhead()
	head := []byte{outer, 3, 3, byte(n >> 8), byte(n)}
	record := p.out.keys.aead.Seal(head, p.out.keys.number(p.out.seq), text, head)
	p.out.seq++
	return record
}

// update sends a KeyUpdate and goes on to the next key.
func (p *peer) update(ask byte) []byte {
	record := p.seal(typeHandshake, string(append(keyUpdate[:], ask)))
	p.must(p.out.update())
	return record
}

// message is a record that arrived at the peer.
type message struct {
	typ  byte
	data string
}

// receive reads one record, and goes on to the next key where it says so.
func (p *peer) receive(from io.Reader) (message, error) {
	record := make([]byte, headerLen)
	if _, err := io.ReadFull(from, record); err != nil {
		return message{}, err
	}
	record = append(record, make([]byte, int(record[3])<<8|int(record[4]))...)
	if _, err := io.ReadFull(from, record[headerLen:]); err != nil {
		return message{}, err
	}
	data, typ, err := p.in.open(record)
	if err != nil {
		return message{}, err
	}
	if typ == typeHandshake {
		err = p.in.update()
	}
	return message{typ, string(data)}, err
}

// open is a wire at whose end there is nothing to wait for.
func dry() *end {
	a, _ := newPipe()
	a.in.end(os.ErrDeadlineExceeded)
	a.out.end(os.ErrDeadlineExceeded)
	return a
}

// resume is Resume over a wire in memory.
func resume(t testing.TB, s State) (*Conn, *end) {
	t.Helper()
	wire := dry()
	c, err := Resume(wire, again(t, s), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, wire
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}
