package tls13

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

func TestMove(t *testing.T) {
	a := newAuthority(t)
	for _, kind := range []string{"ECDSA", "RSA"} {
		certificate := a.issue(t, kind, x509.ExtKeyUsageServerAuth)
		for _, u := range suites {
			t.Run(kind+"/"+tls.CipherSuiteName(u.id), func(t *testing.T) {
				useSuite(t, u.id)
				server, client := a.connect(t,
					&tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}},
					&tls.Config{NextProtos: []string{"h2", "http/1.1"}})
				exchange(t, server, client)
				var c movable = server
				for range 4 {
					c = transfer(t, c, nil)
					exchange(t, c, client)
				}
				s, want := c.(*Conn).ConnectionState(), server.ConnectionState()
				if s.CipherSuite != u.id || s.Version != want.Version || s.NegotiatedProtocol != "http/1.1" ||
					s.ServerName != "somewhere" || s.CurveID != want.CurveID || !s.HandshakeComplete {
					t.Errorf("state is %+v", s)
				}
				if err := client.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("after the client's goodbye: %v", err)
				}
				if err := pass(c, client, "the last word"); err != nil {
					t.Fatal(err)
				}
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				if _, err := client.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("after the server's goodbye: %v", err)
				}
			})
		}
	}
}

// exchange sends data of many sizes in both directions at once.
func exchange(t *testing.T, a, b io.ReadWriter) {
	t.Helper()
	data := make([]byte, 100_000)
	for i := range data {
		data[i] = byte(rand.N(256))
	}
	errs := make(chan error, 4)
	send := func(w io.Writer) {
		for rest := data; len(rest) > 0; {
			n := min(rand.N(rand.N(40_000)+1), len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				errs <- err
				return
			}
			rest = rest[n:]
		}
		errs <- nil
	}
	receive := func(r io.Reader) {
		got := make([]byte, len(data))
		_, err := io.ReadFull(r, got)
		if err == nil && !bytes.Equal(got, data) {
			err = errors.New("other data arrived")
		}
		errs <- err
	}
	go send(a)
	go send(b)
	go receive(a)
	go receive(b)
	if err := errors.Join(<-errs, <-errs, <-errs, <-errs); err != nil {
		t.Fatal(err)
	}
}

// A deadline stops the reader at every byte of three records, and the connection
// moves there.
func TestMoveAtEveryByte(t *testing.T) {
	for _, u := range suites {
		t.Run(tls.CipherSuiteName(u.id), func(t *testing.T) {
			useSuite(t, u.id)
			server, client, wire, err := handshake()
			if err != nil {
				t.Fatal(err)
			}
			p := peerOf(t, client)
			sent := p.seal(typeApplicationData, "one")
			sent = append(sent, p.seal(typeHandshake, string(keyUpdate[:2]))...)
			sent = append(sent, p.seal(typeHandshake, string(keyUpdate[2:])+"\x01")...)
			p.must(p.out.update())
			sent = append(sent, p.seal(typeApplicationData, "two")...)

			var c movable = server
			var got []byte
			for i := range sent {
				wire.in.put(sent[i : i+1])
				for {
					var one [1]byte
					n, err := c.Read(one[:])
					got = append(got, one[:n]...)
					if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Fatalf("at byte %d: %v", i, err)
					}
					c = transfer(t, c, nil)
					if err != nil {
						break
					}
				}
			}
			if string(got) != "onetwo" {
				t.Errorf("read %q", got)
			}
			if err := pass(c, client, "with the next key"); err != nil {
				t.Error(err)
			}
		})
	}
}

// What was read ahead may be several records, and longer than any buffer here.
func TestMoveWithMuchReadAhead(t *testing.T) {
	s, p := newPeer(t)
	var want []byte
	for range 5 {
		data := bytes.Repeat([]byte{byte(len(want) / 1000)}, maxPlaintext)
		(*s.hidden).RawIn = append((*s.hidden).RawIn, p.seal(typeApplicationData, string(data))...)
		want = append(want, data...)
	}
	(*s.hidden).Plain = []byte("unread")
	c, _ := resume(t, s)
	got, err := io.ReadAll(c)
	if !isTimeout(err) || string(got) != "unread"+string(want) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if _, err := c.State(); err != nil {
		t.Error(err)
	}
}

// How far crypto/tls reads ahead is not documented: a client that fills the socket
// must not make a State that is refused.
func TestReadAheadOfCryptoTLS(t *testing.T) {
	server, client, wire, err := handshake()
	if err != nil {
		t.Fatal(err)
	}
	p := peerOf(t, client)
	full := string(make([]byte, maxPlaintext))
	buf := make([]byte, 1000)
	for range 60 {
		for range 8 {
			wire.in.put(p.seal(typeApplicationData, full[:rand.N(len(full))+1]))
		}
		for range 20 {
			if _, err := server.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
		if s := stateOf(t, server); len((*s.hidden).RawIn) > maxReadAhead/2 {
			t.Fatalf("%d bytes are read ahead", len((*s.hidden).RawIn))
		}
	}
}
