package handover

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestMessageOnTheWire(t *testing.T) {
	for wire, m := range map[string]message{
		"SEGUE=1\nID=1\nDO=OPEN\n":                    {ID: 1, Do: Open},
		"SEGUE=1\nID=7\nDO=PROBE\nSOCKET=web\n":       {ID: 7, Do: Probe, Fields: Fields{"SOCKET": "web"}},
		"SEGUE=1\nRE=7\n":                             {ID: 7},
		"SEGUE=1\nRE=7\nERROR=no\\nreally\n":          {ID: 7, Err: "no\nreally"},
		"SEGUE=1\nRE=0\nERROR=bye\n":                  {Err: "bye"},
		"SEGUE=1\nRE=18446744073709551615\n":          {ID: 1<<64 - 1},
		"SEGUE=1\nID=2\nDO=X\nA=\nB=a=b\nC_1=\\\\n\n": {ID: 2, Do: "X", Fields: Fields{"A": "", "B": "a=b", "C_1": `\n`}},
		"SEGUE=1\nID=3\nDO=X\nA=\r\tø\\\\\\n\n":       {ID: 3, Do: "X", Fields: Fields{"A": "\r\tø\\\n"}},
	} {
		data, err := m.encode()
		if err != nil || string(data) != wire {
			t.Errorf("encode(%+v) = %q, %v; want %q", m, data, err, wire)
		}
		got, err := decode([]byte(wire))
		if err != nil || got.ID != m.ID || got.Do != m.Do || got.Err != m.Err || !maps.Equal(got.Fields, m.Fields) {
			t.Errorf("decode(%q) = %+v, %v; want %+v", wire, got, err, m)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for wire, want := range map[string]string{
		"":                                   "not complete",
		"SEGUE=1\nID=1\nDO=OPEN":             "not complete",
		"\n":                                 "begins with",
		"ID=1\nSEGUE=1\nDO=OPEN\n":           "begins with",
		"SEGUE=2\nwhatever that\x01is\n":     "speaks version \"2\"",
		"SEGUE=\n":                           "speaks version \"\"",
		"SEGUE=01\nRE=1\n":                   "speaks version",
		"SEGUE=1\n":                          "must be a request",
		"SEGUE=1\nID=1\n":                    "must be a request",
		"SEGUE=1\nDO=OPEN\n":                 "must be a request",
		"SEGUE=1\nID=1\nRE=1\nDO=OPEN\n":     "must be a request",
		"SEGUE=1\nRE=1\nDO=OPEN\n":           "must be a request",
		"SEGUE=1\nRE=1\nDO=\n":               "must be a request",
		"SEGUE=1\nRE=1\nERROR=\n":            "must be a request",
		"SEGUE=1\nID=1\nDO=A\nERROR=x\n":     "must be a request",
		"SEGUE=1\nID=1\nDO=\n":               "not a verb",
		"SEGUE=1\nID=1\nDO=open\n":           "not a verb",
		"SEGUE=1\nID=0\nDO=OPEN\n":           "not a message number",
		"SEGUE=1\nID=01\nDO=OPEN\n":          "not a message number",
		"SEGUE=1\nID=-1\nDO=OPEN\n":          "not a message number",
		"SEGUE=1\nRE=18446744073709551616\n": "not a message number",
		"SEGUE=1\nRE=1\nRE=1\n":              "twice",
		"SEGUE=1\nRE=1\nSEGUE=1\n":           "twice",
		"SEGUE=1\nRE=1\nA=1\nA=1\n":          "twice",
		"SEGUE=1\nRE=1\nA\n":                 "not KEY=VALUE",
		"SEGUE=1\nRE=1\n\n":                  "not KEY=VALUE",
		"SEGUE=1\nRE=1\na=1\n":               "not KEY=VALUE",
		"SEGUE=1\nRE=1\n1A=1\n":              "not KEY=VALUE",
		"SEGUE=1\nRE=1\nA=\\x\n":             "not KEY=VALUE",
		"SEGUE=1\nRE=1\nA=\\\n":              "not KEY=VALUE",
		"SEGUE=1\nRE=1\nA=\x00\n":            "not UTF-8",
		"SEGUE=1\nRE=1\nA=\xff\n":            "not UTF-8",
		"SEGUE=1\nRE=1\nA=" + strings.Repeat("x", 64<<10) + "\n": "at most 65536",
	} {
		if m, err := decode([]byte(wire)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("decode(%.60q) = %+v, %v; want an error with %q", wire, m, err, want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for want, m := range map[string]message{
		"verb":               {ID: 1, Do: "open\nX=1"},
		"frame":              {ID: 1, Do: Open, Fields: Fields{"ERROR": "x"}},
		"keys are":           {ID: 1, Do: Open, Fields: Fields{"a": "x"}},
		"without NUL":        {ID: 1, Do: Open, Fields: Fields{"A": "\x00"}},
		"values UTF-8":       {ID: 1, Do: Open, Fields: Fields{"A": "\xff"}},
		"error that is not":  {ID: 1, Err: "\xff"},
		"send OPEN: it take": {ID: 1, Do: Open, Fields: Fields{"A": strings.Repeat("\n", 33<<10)}},
		"send an answer: it": {ID: 1, Fields: Fields{"A": strings.Repeat("x", 64<<10)}},
	} {
		if _, err := m.encode(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("encode(%.60v) = %v; want an error with %q", m, err, want)
		}
	}
}

func TestErrorTextCanAlwaysBeSent(t *testing.T) {
	for _, s := range []string{"", "plain", "\x00\xff", strings.Repeat("ø", maxError), strings.Repeat("\\\n", maxError)} {
		data, err := message{ID: 1, Err: errorText(s)}.encode()
		if err != nil {
			t.Fatalf("%.20q: %v", s, err)
		}
		if m, err := decode(data); err != nil || m.Err == "" {
			t.Errorf("%.20q: %+v, %v", s, m, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("SEGUE=1\nID=7\nDO=PROBE\nSOCKET=web\n"))
	f.Add([]byte("SEGUE=1\nRE=7\nERROR=a\\\\b\\nc\n"))
	f.Add([]byte("SEGUE=1\nRE=1\nDO=\nERROR=\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatalf("decoded %+v, which cannot be encoded: %v", m, err)
		}
		if sorted(data) != sorted(again) {
			t.Fatalf("%q encodes to %q", data, again)
		}
	})
}

// FuzzRoundTrip is the other direction: what can be encoded arrives.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint64(1), "OPEN", "", "KEY", "value\n\\n")
	f.Add(uint64(9), "", "could not \\ \n", "A", "")
	f.Fuzz(func(t *testing.T, id uint64, verb, text, key, value string) {
		m := message{ID: id, Do: Verb(verb), Err: text, Fields: Fields{key: value}}
		data, err := m.encode()
		if err != nil || verb != "" && (id == 0 || text != "") {
			return
		}
		got, err := decode(data)
		if err != nil || got.ID != m.ID || got.Do != m.Do || got.Err != m.Err || !maps.Equal(got.Fields, m.Fields) {
			t.Fatalf("%+v arrives as %+v, %v (%q)", m, got, err, data)
		}
	})
}

func sorted(lines []byte) string {
	return strings.Join(slices.Sorted(strings.SplitSeq(string(lines), "\n")), "\n")
}
