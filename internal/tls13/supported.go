package tls13

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"sync"
	"time"
)

// Supported is nil if Export understands crypto/tls of this Go version, which it
// finds out by moving a connection in memory, once in a process: a few
// milliseconds. Otherwise TLS connections cannot move.
func Supported() error { return supported() }

var errFIPS = errors.New("tls13: FIPS 140-3 mode wants the record layer of crypto/tls")

var supported = sync.OnceValue(selfTest)

func selfTest() error {
	if fips140.Enabled() {
		return errFIPS
	}
	server, client, wire, err := handshake()
	if err != nil {
		return fmt.Errorf("tls13: self-test: %w", err)
	}
	if err := move(server, client, wire); err != nil {
		return fmt.Errorf("tls13: self-test: %w", err)
	}
	return nil
}

// move exports the server in the worst state that can be: keys updated, sequence
// numbers counted, a record half read and the next one half arrived. The client
// has no method for a KeyUpdate, so from then on its records are made here, from
// its own secret: what they say is only understood if everything was.
func move(server, client *tls.Conn, wire *end) error {
	if err := pass(client, server, "to crypto/tls"); err != nil {
		return err
	}
	if err := pass(server, client, "from crypto/tls"); err != nil {
		return err
	}
	s, _, err := extract(client)
	if err != nil {
		return err
	}
	var out half
	if err := out.init(suiteOf(s.Suite), (*s.hidden).OutSecret, (*s.hidden).OutSeq); err != nil {
		return err
	}
	sent, err := out.seal(nil, typeHandshake, append(keyUpdate[:], 1))
	if err == nil {
		err = out.update()
	}
	for _, text := range []string{"first", "second"} {
		if err == nil {
			sent, err = out.seal(sent, typeApplicationData, []byte(text))
		}
	}
	if err != nil {
		return err
	}
	late := len(sent) - 7
	wire.in.put(sent[:late])
	if err := expect(server, "fi"); err != nil {
		return err
	}
	for _, text := range []string{"with the updated key", "again"} { // not as many as come in
		if err := pass(server, client, text); err != nil {
			return err
		}
	}

	moved, err := Export(server)
	if err != nil {
		return err
	}
	ours, err := Resume(wire, moved, nil)
	if err != nil {
		return err
	}
	if err := expect(ours, "rst"); err != nil {
		return err
	}
	wire.in.put(sent[late:])
	if err := expect(ours, "second"); err != nil {
		return err
	}
	return pass(ours, client, "from its successor")
}

// pass sends a text and reads it at the other end.
func pass(from io.Writer, to io.Reader, text string) error {
	if _, err := io.WriteString(from, text); err != nil {
		return err
	}
	return expect(to, text)
}

func expect(from io.Reader, text string) error {
	got := make([]byte, len(text))
	if _, err := io.ReadFull(from, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("read %q, not %q", got, text)
	}
	return nil
}

// handshake connects a server and a client in memory; wire is the server's end.
func handshake() (server, client *tls.Conn, wire *end, err error) {
	certificate, err := selfSigned()
	if err != nil {
		return nil, nil, nil, err
	}
	a, b := newPipe()
	server = tls.Server(a, &tls.Config{
		Certificates:           []tls.Certificate{certificate},
		MinVersion:             tls.VersionTLS13,
		CurvePreferences:       []tls.CurveID{tls.X25519},
		SessionTicketsDisabled: true,
	})
	client = tls.Client(b, &tls.Config{
		InsecureSkipVerify: true, // it talks to itself
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   []tls.CurveID{tls.X25519},
	})
	done := make(chan error, 1)
	go func() {
		err := client.Handshake()
		a.in.end(os.ErrDeadlineExceeded) // nobody is left to wait for
		done <- err
	}()
	err = server.Handshake()
	a.out.end(os.ErrDeadlineExceeded)
	return server, client, a, errors.Join(err, <-done)
}

// selfSigned is a certificate that nobody else will see.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
