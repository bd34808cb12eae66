package tls13

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// FuzzRecordLayer lets a client send anything, in any pieces, to crypto/tls and to
// its successor, which moves in between. Both must read the same data, come to the
// same end, and answer with the same alert.
func FuzzRecordLayer(f *testing.F) {
	data := []byte{opData, 5, 0, opData, 0, 3, opUpdate, 1, opData, 255, 1}
	f.Add(data, []byte{1}, uint8(0), false)
	f.Add(append(data, opAlert, 1, 0), []byte{7, 1}, uint8(1), false)
	f.Add(append(data, opAlert, 2, 80), []byte{200}, uint8(2), true)
	f.Add(append(data, opAlert, 1, 90, opData, 9, 0), []byte{}, uint8(0), true)
	f.Add(append(data, opUpdate, 2), []byte{3}, uint8(0), true)
	f.Add(append(data, opFlip, 9), []byte{50}, uint8(1), true)
	f.Add(append(data, opSplit, 2, 1, opData, 1, 1), []byte{50}, uint8(2), true)
	f.Add(append(data, opSplit, 2, 0, opData, 1, 1), []byte{2}, uint8(2), false)
	f.Add(append(data, opRecord, 22, 1, 1, opData, 1, 1), []byte{2}, uint8(0), false)
	f.Add(append(data, opRecord, 22, 4, 24, 0, 0, 2, opData, 1, 1), []byte{2}, uint8(0), false)
	f.Add(append(data, opRecord, 22, 10, 24, 0, 0, 1, 0, 24, 0, 0, 1, 0), []byte{}, uint8(0), false)
	f.Add(append(data, opRecord, 22, 2, 24, 0, opData, 1, 0), []byte{}, uint8(0), false)
	f.Add(append(data, opRecord, 22, 0), []byte{}, uint8(0), false)
	f.Add(append(data, opRecord, 22, 5, 4, 0, 0, 1, 0), []byte{}, uint8(0), false)
	f.Add(append(data, opRecord, 20, 1, 1, opRecord, 23, 0, opRecord, 99, 1, 1), []byte{}, uint8(0), false)
	f.Add(append(data, opRecord, 21, 3, 1, 0, 0), []byte{}, uint8(0), false)
	f.Add(append(data, opRaw, 20, 3, 3, 1, 1, opData, 4, 0, opRaw, 20, 3, 3, 1, 2), []byte{}, uint8(0), false)
	f.Add(append(data, opRaw, 23, 3, 1, 9, 9), []byte{}, uint8(0), false)
	f.Add(append(data, opRaw, 23, 3, 3, 255, 255), []byte{9}, uint8(0), true)
	f.Add(append(data, opRaw, 23, 3, 3, 65, 1), []byte{250}, uint8(0), true)
	f.Add(append(data, opRaw, 20, 3, 3, 64, 1), []byte{250}, uint8(0), true)
	f.Add(append(data, opRaw, 23, 3, 3, 0, 0), []byte{9}, uint8(0), true)
	f.Add(append(data, opRaw, 21, 3, 3, 2, 2), []byte{}, uint8(0), true)
	f.Add(append(data, opBig, 0, opBig, 1, opData, 1, 0), []byte{255}, uint8(1), true)
	f.Add(append(data, opBig, 2), []byte{255}, uint8(1), true)
	f.Add(append(data, opBig, 3), []byte{255}, uint8(1), true)
	f.Add(append(data, opBig, 4), []byte{255}, uint8(1), true)
	f.Add(append(data, opEmpty, 0, 0, opData, 1, 1), []byte{}, uint8(1), true)
	f.Add(append(data, opEmpty, 1, 0, opData, 1, 1), []byte{}, uint8(1), true)
	f.Add(append(data, opOuter, 22, 3), []byte{}, uint8(1), true)
	for _, useless := range [][]byte{{opEmpty, 0, 0}, {opUpdate, 1}, {opUpdate, 0}, {opAlert, 1, 90}, {opRaw, 20, 3, 3, 1, 1}} {
		f.Add(append(data, bytes.Repeat(useless, 16)...), []byte{30}, uint8(0), false)
		f.Add(append(data, bytes.Repeat(useless, 17)...), []byte{30}, uint8(0), false)
	}

	f.Fuzz(func(t *testing.T, script, cuts []byte, which uint8, eof bool) {
		if len(script) > 400 {
			return
		}
		useSuite(t, suites[int(which)%len(suites)].id)
		server, client, wire, err := handshake()
		if err != nil {
			t.Fatal(err)
		}
		p := peerOf(t, client)
		moved, our := resume(t, stateOf(t, server))
		sent, odd := p.perform(script)

		theirs := consume(t, server, wire, sent, cuts, eof)
		ours := consume(t, moved, our, sent, cuts, eof)
		theirs.alert, ours.alert = lastAlert(t, client, wire), lastAlert(t, client, our)

		// A message that is no KeyUpdate is refused as soon as its type is known;
		// crypto/tls waits for all of it and looks inside first.
		if odd && ours.end == "local" && (ours.alert == alertUnexpectedMessage || ours.alert == alertDecodeError) {
			if theirs.end == "local" || theirs.hand {
				ours.end, ours.alert = theirs.end, theirs.alert
			}
		}
		if !bytes.Equal(ours.data, theirs.data) {
			t.Errorf("read %d bytes, crypto/tls %d, or others", len(ours.data), len(theirs.data))
		}
		if ours.end != theirs.end || ours.alert != theirs.alert {
			t.Errorf("ended with %s (%v), alert %d; crypto/tls with %s (%v), alert %d", ours.end, ours.err, ours.alert, theirs.end, theirs.err, theirs.alert)
		}
	})
}

// Operations of a script; each takes its operands from the bytes that follow.
const (
	opData   = iota // length, padding: application data
	opAlert         // level, description
	opUpdate        // request: KeyUpdate; the client goes on to the next key
	opSplit         // where, request: the same in two records
	opRecord        // type, length, bytes
	opFlip          // which byte of all that was sent so far, from the end
	opRaw           // five bytes of a header; as many bytes follow as it says, if that is about allowed
	opBig           // which limit to touch or to break
	opEmpty         // 1: one byte of padding; nothing else
	opOuter         // outer type, length
	ops
)

// perform encrypts what a script says. odd: some handshake data was not that of
// a KeyUpdate.
func (p *peer) perform(script []byte) (sent []byte, odd bool) {
	next := func() (b byte) {
		if len(script) > 0 {
			b, script = script[0], script[1:]
		}
		return b
	}
	for len(script) > 0 && len(sent) < 200_000 {
		switch next() % ops {
		case opData:
			text := bytes.Repeat([]byte{byte(len(sent))}, int(next()))
			text = append(text, typeApplicationData)
			sent = append(sent, p.inner(typeApplicationData, append(text, make([]byte, next())...))...)
		case opAlert:
			sent = append(sent, p.seal(typeAlert, string([]byte{next(), next()}))...)
		case opUpdate:
			sent = append(sent, p.update(next())...)
		case opSplit:
			at, message := int(next())%4+1, append(keyUpdate[:], next())
			sent = append(sent, p.seal(typeHandshake, string(message[:at]))...)
			sent = append(sent, p.seal(typeHandshake, string(message[at:]))...)
			p.must(p.out.update())
		case opRecord:
			typ, data := next(), make([]byte, next())
			for i := range data {
				data[i] = next()
			}
			odd = odd || typ == typeHandshake
			sent = append(sent, p.seal(typ, string(data))...)
		case opFlip:
			if i := int(next()); i < len(sent) {
				sent[len(sent)-1-i] ^= 1
			}
		case opRaw:
			head := []byte{next(), next(), next(), next(), next()}
			n := int(head[3])<<8 | int(head[4])
			if head[0] == typeChangeCipherSpec && n == 2 { // one that is right
				head[4] = 1
				n = 1
			}
			if n > maxCiphertext+1 {
				n = 20
			}
			sent = append(append(sent, head...), bytes.Repeat([]byte{1}, n)...)
		case opBig:
			sizes := [...]struct{ data, padding int }{{maxPlaintext, 0}, {0, maxPlaintext}, {maxPlaintext, 1}, {maxPlaintext + 1, 0}, {maxPlaintext + 300, 0}}
			size := sizes[int(next())%len(sizes)]
			text := append(make([]byte, size.data), typeApplicationData)
			sent = append(sent, p.inner(typeApplicationData, append(text, make([]byte, size.padding)...))...)
		case opEmpty:
			sent = append(sent, p.inner(typeApplicationData, make([]byte, next()%2))...)
			next()
		case opOuter:
			sent = append(sent, p.inner(next(), append(make([]byte, next()), typeApplicationData))...)
		}
	}
	return sent, odd
}

// outcome is what a server made of it.
type outcome struct {
	data  []byte
	end   string // class of err
	err   error
	alert tls.AlertError // 255: none was sent
	hand  bool           // crypto/tls waits for the rest of a handshake message
}

// consume reads to the end what arrives cut to pieces. A *Conn moves now and then.
func consume(t *testing.T, c movable, wire *end, sent, cuts []byte, eof bool) (o outcome) {
	t.Helper()
	buf := make([]byte, 700)
	for i := 0; ; i++ {
		n := len(sent)
		if len(cuts) > 0 && i < 5000 {
			n = min(n, int(cuts[i%len(cuts)])+1)
		}
		wire.in.put(sent[:n])
		sent = sent[n:]
		if len(sent) == 0 && eof {
			wire.in.end(io.EOF)
		}
		for o.err = nil; o.err == nil; {
			n, o.err = c.Read(buf)
			o.data = append(o.data, buf[:n]...)
		}
		if !isTimeout(o.err) || len(sent) == 0 {
			break
		}
		if ours, ok := c.(*Conn); ok && i%16 == 3 {
			c = transfer(t, ours, nil)
		}
	}
	switch {
	case errors.Is(o.err, os.ErrDeadlineExceeded):
		o.end = "waits"
	case o.err == io.EOF, o.err == io.ErrUnexpectedEOF:
		o.end = o.err.Error()
	case strings.HasPrefix(o.err.Error(), "remote error"):
		o.end = o.err.Error()
	default:
		o.end = "local"
	}
	if theirs, ok := c.(*tls.Conn); ok {
		o.hand = pending(theirs)
	}
	return o
}

// pending says whether crypto/tls holds handshake data.
func pending(c *tls.Conn) bool {
	v := viewOf(c)
	return v.get(handBuf).Len() > int(v.get(handOff).Int())
}

// lastAlert decrypts what a server sent to a client of which nothing was read.
func lastAlert(t *testing.T, client *tls.Conn, wire *end) tls.AlertError {
	t.Helper()
	p, last := peerOf(t, client), tls.AlertError(255)
	for {
		m, err := p.receive(wireBack{wire})
		if err != nil {
			if !isTimeout(err) {
				t.Fatalf("the server's answer: %v", err)
			}
			return last
		}
		if m.typ == typeAlert {
			last = tls.AlertError(m.data[1])
		}
	}
}

// wireBack reads what the other end wrote.
type wireBack struct{ *end }

func (w wireBack) Read(p []byte) (int, error) { return w.out.get(p) }

func FuzzState(f *testing.F) {
	s, _ := newPeer(f)
	s.ALPN, s.ServerName, (*s.hidden).Owed, s.DidResume = "http/1.1", "somewhere", true, true
	(*s.hidden).RawIn, (*s.hidden).Plain, (*s.hidden).Hand, (*s.hidden).Useless = []byte("raw"), []byte("plain"), keyUpdate[:2], 3
	s.PeerCertificates = [][]byte{[]byte("one"), []byte("two")}
	data, err := s.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		var s State
		if s.UnmarshalBinary(data) != nil {
			if s.hidden != nil {
				t.Error("a state that was refused is there")
			}
			return
		}
		same, err := s.MarshalBinary()
		if err != nil || !bytes.Equal(same, data) {
			t.Errorf("encoded again it is another: %v", err)
		}
		c, err := Resume(dry(), s, &tls.Config{ClientAuth: tls.RequestClientCert})
		if err != nil {
			return // certificates that are none
		}
		_, _ = io.ReadAll(c)
	})
}
