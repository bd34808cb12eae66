package tls13

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"testing"
)

func TestSupported(t *testing.T) {
	if err := Supported(); err != nil {
		t.Fatal(err)
	}
}

// When crypto/tls keeps its state elsewhere, the self-test says so and nothing is
// exported: a field that is gone, one of another type, and one that means
// something else.
func TestLayoutIsChecked(t *testing.T) {
	server, _, _, err := handshake()
	if err != nil {
		t.Fatal(err)
	}
	was := layout
	defer func() { layout = was }()
	for s := range layout {
		for _, path := range []string{"gone", "in.gone", layout[s].path + ".gone", "config", "in"} {
			layout = was
			layout[s].path = path
			if _, err := Export(server); !errors.Is(err, ErrLayout) {
				t.Errorf("%s at %s: %v", was[s].path, path, err)
			}
			if err := selfTest(); !errors.Is(err, ErrLayout) {
				t.Errorf("self-test, %s at %s: %v", was[s].path, path, err)
			}
		}
	}
	for s, other := range map[slot]slot{inSecret: outSecret, outSecret: inSecret, inSeq: outSeq, outSeq: inSeq, rawBuf: handBuf, plainBuf: rawBuf, inErr: inErr} {
		layout = was
		layout[s].path = was[other].path
		if err := selfTest(); (err == nil) != (s == other) {
			t.Errorf("self-test, %s at %s: %v", was[s].path, was[other].path, err)
		}
	}
}

func TestExportRefuses(t *testing.T) {
	a := newAuthority(t)
	serve := &tls.Config{Certificates: []tls.Certificate{a.issue(t, "ECDSA", x509.ExtKeyUsageServerAuth)}}
	old := serve.Clone()
	old.MaxVersion = tls.VersionTLS12
	goodbye := func(from, to *tls.Conn) {
		if err := from.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Read(make([]byte, 1)); err != io.EOF {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func() *tls.Conn{
		"TLS 1.2":       func() *tls.Conn { s, _ := a.connect(t, old, nil); return s },
		"a client":      func() *tls.Conn { _, c := a.connect(t, serve, nil); return c },
		"no handshake":  func() *tls.Conn { s, _ := sockets(t); return tls.Server(s, serve) },
		"closed":        func() *tls.Conn { s, _ := a.connect(t, serve, nil); s.Close(); return s },
		"our goodbye":   func() *tls.Conn { s, c := a.connect(t, serve, nil); goodbye(s, c); return s },
		"their goodbye": func() *tls.Conn { s, c := a.connect(t, serve, nil); goodbye(c, s); return s },
		"a bad record": func() *tls.Conn {
			s, c := a.connect(t, serve, nil)
			if _, err := c.NetConn().Write(make([]byte, headerLen)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Read(make([]byte, 1)); err == nil {
				t.Fatal("read a record of version 0")
			}
			return s
		},
		"half a message": func() *tls.Conn {
			s, c, wire, err := handshake()
			if err != nil {
				t.Fatal(err)
			}
			wire.in.put(peerOf(t, c).seal(typeHandshake, "\x0b\x00\x10\x00"))
			if _, err := s.Read(make([]byte, 1)); !isTimeout(err) {
				t.Fatal(err)
			}
			return s
		},
	} {
		s, err := Export(spoil())
		if err == nil || s.hidden != nil {
			t.Errorf("%s: exported", name)
		}
		if errors.Is(err, ErrLayout) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
