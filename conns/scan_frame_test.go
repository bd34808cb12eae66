package conns

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// framePoint is a place between two frames, as the scanner and a decoder see it.
type framePoint struct {
	pos                       int
	opcode                    byte
	message, control, closing bool
}

func scanFrames(t testing.TB, b []byte, cuts func() int) (points []framePoint, s frameScanner) {
	for pos := 0; pos < len(b); {
		piece := b[pos:min(len(b), pos+cuts())]
		n := s.next(piece)
		if n < 1 || n > len(piece) || n < len(piece) && !s.frameEnd() || s.messageEnd() && !s.frameEnd() {
			t.Fatalf("next(%x) = %d, frameEnd %v, messageEnd %v", piece, n, s.frameEnd(), s.messageEnd())
		}
		if pos += n; s.frameEnd() {
			points = append(points, framePoint{pos, s.opcode(), s.messageEnd(), s.control(), s.closing})
		}
	}
	return points, s
}

// decodeFrames is the same with everything at hand.
func decodeFrames(b []byte) (points []framePoint, bad bool) {
	var fragments, closing bool
	for pos := 0; pos < len(b); {
		h := b[pos:]
		op, fin := h[0]&0x0f, h[0]>>7 == 1
		control := op >= 8
		if op > 2 && op < 8 || op > 10 || control && !fin || op == 0 && !fragments || (op == 1 || op == 2) && fragments {
			return points, true
		}
		closing = closing || op == 8
		if len(h) < 2 {
			return points, false
		}
		size, payload := 2, uint64(h[1]&0x7f)
		if control && payload > 125 {
			return points, true
		}
		switch {
		case payload == 126 && len(h) >= 4:
			size, payload = 4, uint64(binary.BigEndian.Uint16(h[2:]))
		case payload == 127 && len(h) >= 10:
			size, payload = 10, binary.BigEndian.Uint64(h[2:])
		case payload >= 126:
			return points, false
		}
		if payload > 1<<63-1 {
			return points, true
		}
		if h[1]&0x80 != 0 {
			size += 4
		}
		if len(h) < size || uint64(len(h)-size) < payload {
			return points, false
		}
		pos += size + int(payload)
		if !control {
			fragments = !fin
		}
		points = append(points, framePoint{pos, op, !fragments, control, closing})
	}
	return points, false
}

func checkFrames(t *testing.T, in []byte, seed uint64) {
	want, bad := decodeFrames(in)
	for name, cuts := range map[string]func() int{"whole": whole, "bytes": oneByte, "random": randomly(seed)} {
		got, s := scanFrames(t, in, cuts)
		if len(got) != len(want) || s.bad != bad {
			t.Fatalf("%x, %s, seed %d: %v, bad %v; want %v, %v", in, name, seed, got, s.bad, want, bad)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%x, %s, seed %d: %+v, want %+v", in, name, seed, got[i], want[i])
			}
		}
	}
}

// wsFrame writes a frame of any kind; masked says with which length of the key.
func wsFrame(first byte, masked bool, payload int) []byte {
	b := []byte{first, 0}
	switch {
	case payload > 0xffff:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(payload))
	case payload > maxControl:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(payload))
	default:
		b[1] = byte(payload)
	}
	if masked {
		b[1] |= 0x80
		b = append(b, 1, 2, 3, 4)
	}
	return append(b, make([]byte, payload)...)
}

func TestFrameScanner(t *testing.T) {
	var s frameScanner
	if !s.frameEnd() || !s.messageEnd() || s.closing || s.bad {
		t.Fatalf("before the first frame: %+v", s)
	}
	for _, step := range []struct {
		in               []byte
		message, control bool
		op               byte
	}{
		{wsFrame(0x81, true, 5), true, false, opText},
		{wsFrame(0xC2, true, 0), true, false, opBinary}, // RSV1: compressed
		{wsFrame(0x01, false, 200), false, false, opText},
		{wsFrame(0x89, true, 125), false, true, opPing},
		{wsFrame(0x00, true, 70_000), false, false, opContinuation},
		{wsFrame(0x8A, true, 0), false, true, opPong},
		{wsFrame(0x80, false, 0), true, false, opContinuation},
		{wsFrame(0x89, false, 0), true, true, opPing},
	} {
		if n := s.next(append(step.in, 0x81)); n != len(step.in) || !s.frameEnd() || s.bad || s.closing ||
			s.messageEnd() != step.message || s.control() != step.control || s.opcode() != step.op {
			t.Errorf("%x: n %d of %d, %+v", step.in[:2], n, len(step.in), s)
		}
	}
	if s.next([]byte{0x88}); !s.closing || s.frameEnd() || s.messageEnd() || !s.control() {
		t.Errorf("in a Close frame: %+v", s)
	}
}

func TestFrameScannerBad(t *testing.T) {
	for name, in := range map[string][]byte{
		"reserved":               wsFrame(0x83, true, 0),
		"reserved control":       wsFrame(0x8B, true, 0),
		"continuation":           wsFrame(0x80, true, 0),
		"message in a message":   append(wsFrame(0x01, true, 3), wsFrame(0x81, true, 3)...),
		"fragmented control":     wsFrame(0x09, true, 0),
		"long control":           wsFrame(0x89, true, 126),
		"length with a top bit":  {0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0},
		"after a good one, h1":   append(wsFrame(0x82, true, 9), "HTTP/1.1 200 OK"...),
		"fragmented close frame": wsFrame(0x08, true, 2),
	} {
		checkFrames(t, in, 1)
		_, s := scanFrames(t, in, whole)
		if n := s.next(in); !s.bad || s.frameEnd() || s.messageEnd() || n != len(in) {
			t.Errorf("%s: n %d of %d, %+v", name, n, len(in), s)
		}
	}
}

func TestFrameScannerSplits(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	firsts := []byte{0x81, 0x82, 0x01, 0x02, 0x80, 0x00, 0x89, 0x8A, 0x88, 0xC1, 0x80, 0x00, 0x80}
	for i := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, i))
		var in []byte
		for range 1 + r.IntN(12) {
			in = append(in, wsFrame(firsts[r.IntN(len(firsts))], r.IntN(2) == 0, r.IntN(1<<r.IntN(12)))...)
		}
		checkFrames(t, in, seed+i)
	}
	checkFrames(t, wsFrame(0x81, true, 70_000), seed)
}

func TestFrames(t *testing.T) {
	got := appendFrame([]byte("x"), opClose, closePayload(1012, "restart"))
	if want := append([]byte{'x', 0x88, 9, 0x03, 0xF4}, "restart"...); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	for _, reason := range []string{"", strings.Repeat("a", 123), strings.Repeat("a", 300), strings.Repeat("é", 62), strings.Repeat("界", 50)} {
		p := closePayload(1001, reason)
		cut := string(p[2:])
		if len(p) > maxControl || len(p) < min(len(reason)+2, maxControl-2) || !strings.HasPrefix(reason, cut) || !utf8.ValidString(cut) {
			t.Errorf("%q: %q", reason, cut)
		}
		checkFrames(t, appendFrame(nil, opClose, p), 1)
	}
}

func FuzzFrameScanner(f *testing.F) {
	f.Add(append(wsFrame(0x01, true, 5), wsFrame(0x80, true, 3)...), uint64(1))
	f.Add(append(wsFrame(0x82, false, 200), wsFrame(0x89, true, 3)...), uint64(2))
	f.Add([]byte{0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1, 'x', 0x88, 0x80, 0, 0, 0, 0}, uint64(3))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) { checkFrames(t, in, seed) })
}

func BenchmarkFrameScanner(b *testing.B) {
	for name, payload := range map[string]int{"100B": 100, "4KB": 4096} {
		b.Run(name, func(b *testing.B) {
			in := wsFrame(0x82, true, payload)
			var s frameScanner
			b.ReportAllocs()
			for b.Loop() {
				if s.next(in) != len(in) || !s.messageEnd() {
					b.Fatal("no end")
				}
			}
		})
	}
}
