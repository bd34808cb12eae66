package handover

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// FuzzMove: what the decoder accepts encodes to the same bytes, and pieces of it
// are put together again, whatever their size; bytes that are no datagrams of
// ours are refused without a descriptor being kept.
func FuzzMove(f *testing.F) {
	for _, m := range []moveMessage{
		{kind: moveBatch, server: "web", batch: 1, arg: 1, items: [][]byte{[]byte("one"), nil, []byte("three")}},
		{kind: moveVerdict, server: "web", batch: 1 << 40, items: [][]byte{nil, []byte("no"), nil}},
		{kind: moveGo, server: strings.Repeat("x", maxServer), items: make([][]byte, 3)},
		{kind: moveLate, server: "w", arg: 5, items: [][]byte{[]byte("late")}},
		{kind: moveError, items: [][]byte{[]byte("no memory")}},
	} {
		head, _, err := m.encode()
		if err != nil {
			f.Fatal(err)
		}
		all := append(head, bytes.Join(m.items, nil)...)
		f.Add(byte(m.kind), all, byte(7))
		f.Add(byte(m.kind), append(m.kind.frame(nil, 0, 0, 0), all...), byte(0))
	}
	f.Fuzz(func(t *testing.T, kind byte, data []byte, piece byte) {
		raw := moveAssembly{}
		for d := range bytes.SplitSeq(data, []byte{piece}) {
			whole, err := raw.add(d, nil)
			if err != nil {
				break
			}
			if whole {
				if _, err := raw.take(); err != nil {
					break
				}
			}
		}
		m, err := decodeMove(moveKind(kind), data)
		if err != nil {
			return
		}
		head, size, err := m.encode()
		if err != nil || size != len(data) || !bytes.Equal(append(head, bytes.Join(m.items, nil)...), data) {
			t.Fatalf("%+v encodes to other bytes, %v", m, err)
		}
		a := moveAssembly{}
		for rest := data; ; {
			n := min(len(rest), int(piece)+1)
			whole, err := a.add(append(m.kind.frame(nil, 0, 0, len(rest)-n), rest[:n]...), nil)
			if err != nil {
				t.Fatal(err)
			}
			if rest = rest[n:]; whole != (len(rest) == 0) {
				t.Fatalf("whole: %v, with %d bytes to come", whole, len(rest))
			}
			if whole {
				break
			}
		}
		if m.kind == moveBatch {
			a.files = make([]int, len(m.items))
		}
		again, err := a.take()
		if err != nil || again.server != m.server || again.batch != m.batch || again.arg != m.arg || len(again.items) != len(m.items) {
			t.Fatalf("%+v, %v", again, err)
		}
		for i := range m.items {
			if !bytes.Equal(again.items[i], m.items[i]) {
				t.Fatalf("item %d is not the same", i)
			}
		}
	})
}

// docs/PROTOCOL.md has the messages, the sizes and the version of the code.
func TestMoveDocument(t *testing.T) {
	data, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(data), "\n## The move\n")
	text, _, _ = strings.Cut(text, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| `([A-Z]+)` \\| (\\d) \\|").FindAllStringSubmatch(text, -1)
	for i, row := range rows {
		k := moveKind(i + 1)
		if row[1] != k.String() || row[2] != fmt.Sprint(uint8(k)) {
			t.Errorf("the table has %s %s, the code %v %d", row[1], row[2], k, k)
		}
	}
	if len(rows) != int(moveError) {
		t.Errorf("the table has %d messages, the code %d", len(rows), moveError)
	}
	for _, s := range []string{
		fmt.Sprintf("Version %d;", MoveVersion), fmt.Sprintf("| 2 | `%s` |", moveMagic), fmt.Sprintf("| 1 | version, %d.", MoveVersion),
		fmt.Sprintf("a frame of %d bytes", frameSize), fmt.Sprintf("at most %d bytes of the message follow", pieceSize),
		fmt.Sprintf("with this datagram, at most %d |", pieceFiles), fmt.Sprintf("1 to %d (0 in ERROR)", maxServer),
		fmt.Sprintf("at most %d MiB, a message %d MiB", MaxParcel>>20, MaxBatch>>20), fmt.Sprintf("and %d connections", MaxMoved),
		fmt.Sprintf("at most %d KB; empty", maxReason>>10), fmt.Sprintf("within %.0f s", writeTimeout.Seconds()),
	} {
		if !strings.Contains(text, s) {
			t.Errorf("it does not say %q", s)
		}
	}
}
