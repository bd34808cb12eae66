package tls13

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

// sample is a State with something in every field.
func sample(t testing.TB) State {
	s, _ := newPeer(t)
	s.ALPN, s.ServerName, s.CurveID = "http/1.1", "somewhere", 29
	s.DidResume, s.HelloRetry, s.ECHAccepted, (*s.hidden).Owed = true, true, true, true
	(*s.hidden).RawIn, (*s.hidden).Plain, (*s.hidden).Hand, (*s.hidden).Useless = []byte("raw input"), []byte("plain text"), keyUpdate[:2], 3
	(*s.hidden).InSeq, (*s.hidden).OutSeq = 1<<40, 7
	s.PeerCertificates = [][]byte{[]byte("one"), []byte("two")}
	return s
}

func TestEncoding(t *testing.T) {
	s := sample(t)
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("the sample has no %s", v.Type().Field(i).Name)
		}
	}
	if got := again(t, s); !reflect.DeepEqual(got, s) {
		t.Errorf("encoding changed %+v %+v to %+v %+v", s, **s.hidden, got, **got.hidden)
	}

	data, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, data []byte) {
		t.Helper()
		var n State
		if err := n.UnmarshalBinary(data); err == nil || n.hidden != nil {
			t.Errorf("%s is accepted", what)
		}
	}
	for i := range data {
		refused(fmt.Sprintf("a part of %d bytes", i), data[:i])
	}
	refused("a byte too much", append(bytes.Clone(data), 0))
	change := func(at int, to byte) []byte {
		b := bytes.Clone(data)
		b[at] = to
		return b
	}
	refused("another version", change(0, encoding+1))
	refused("an unknown flag", change(1, 0x80))
	refused("too many useless records", change(2, maxUseless+1))
	refused("another cipher suite", change(4, 0xff))
}

func TestStatesThatAreNone(t *testing.T) {
	for name, spoil := range map[string]func(s *State){
		"no traffic":             func(s *State) { s.hidden = nil },
		"an unknown suite":       func(s *State) { s.Suite = 0x1304 },
		"a suite of longer keys": func(s *State) { s.Suite = suites[1].id },
		"a short secret":         func(s *State) { (*s.hidden).InSecret = (*s.hidden).InSecret[1:] },
		"no secret":              func(s *State) { (*s.hidden).OutSecret = nil },
		"much read ahead":        func(s *State) { (*s.hidden).RawIn = make([]byte, maxReadAhead+1) },
		"much unread":            func(s *State) { (*s.hidden).Plain = make([]byte, maxPlaintext+1) },
		"a whole KeyUpdate":      func(s *State) { (*s.hidden).Hand = append(keyUpdate[:], 0) },
		"another message":        func(s *State) { (*s.hidden).Hand = []byte{4} },
		"a long KeyUpdate":       func(s *State) { (*s.hidden).Hand = []byte{24, 0, 1} },
		"useless records":        func(s *State) { (*s.hidden).Useless = maxUseless + 1 },
		"a long name":            func(s *State) { s.ServerName = strings.Repeat("x", maxName+1) },
		"a long protocol":        func(s *State) { s.ALPN = strings.Repeat("x", maxName+1) },
		"long certificates":      func(s *State) { s.PeerCertificates = [][]byte{make([]byte, maxCertificates+1)} },
		"many certificates":      func(s *State) { s.PeerCertificates = slicesOf(maxName + 1) },
		"an empty certificate":   func(s *State) { s.PeerCertificates = [][]byte{{}} },
	} {
		s := sample(t)
		spoil(&s)
		if _, err := s.MarshalBinary(); err == nil {
			t.Errorf("%s: encoded", name)
		}
		if _, err := Resume(dry(), s, nil); err == nil {
			t.Errorf("%s: resumed", name)
		}
	}
}

func slicesOf(n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = []byte{1}
	}
	return all
}

// Nothing that prints prints a secret, at whatever depth it finds a State or a
// Conn.
func TestSecretsAreNotPrinted(t *testing.T) {
	s := sample(t)
	s.PeerCertificates, (*s.hidden).RawIn = nil, nil
	c, _ := resume(t, s)
	type hidden struct{ in State }
	type nested struct {
		State State
		deep  *hidden
		in    hidden
		conn  *Conn
		any   any
	}
	n := nested{s, &hidden{s}, hidden{s}, c, s}
	var out bytes.Buffer
	for _, v := range []any{s, &s, []State{s}, map[string]State{"": s}, n, &n, n.in, &n.in, c, []any{c, s}, struct{ *Conn }{c}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%o"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		if data, err := json.Marshal(v); err == nil {
			out.Write(data)
		}
		for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
			slog.New(handler).Info("here", "v", v, slog.Group("g", "v", v))
		}
	}
	printed := out.String()
	for name, secret := range map[string][]byte{"key": (*s.hidden).InSecret, "other key": (*s.hidden).OutSecret, "data": (*s.hidden).Plain, "iv": c.in.keys.iv[:]} {
		for _, form := range []string{string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)), strings.Trim(fmt.Sprint(secret), "[]"), strings.TrimSuffix(fmt.Sprintf("%#v", secret)[7:], "}")} {
			if strings.Contains(printed, form) {
				t.Errorf("the %s is printed", name)
			}
		}
	}
	if !strings.Contains(printed, "tls13.State(TLS_AES_128_GCM_SHA256)") || !strings.Contains(printed, "tls13.Conn(") {
		t.Error("nothing is printed at all")
	}
}
