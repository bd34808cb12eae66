package handover

import (
	"maps"
	"strings"
	"testing"
)

func TestParseNotification(t *testing.T) {
	for data, want := range map[string]map[string]string{
		"READY=1":                        {"READY": "1"},
		"READY=1\n":                      {"READY": "1"},
		"READY=1\x00":                    {"READY": "1"},
		"READY=1\nSTATUS=a=b\n\nX_Y1=":   {"READY": "1", "STATUS": "a=b", "X_Y1": ""},
		"STATUS=a\nSTATUS=b":             {"STATUS": "b"},
		"READY=1\nwhat is this\nlow=x\n": {"READY": "1"},
	} {
		if got, err := parseNotification([]byte(data)); err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %q, %v", data, got, err)
		}
	}
	for _, bad := range []string{"", "\n", "\x00", "READY=1\x00\x00", "READY=1\x00\nSTATUS=x", "nothing", "=1", "STATUS=" + strings.Repeat("x", maxNotification)} {
		if got, err := parseNotification([]byte(bad)); err == nil {
			t.Errorf("%.30q is read as %q", bad, got)
		}
	}
}

func FuzzParseNotification(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=on my way\n"))
	f.Add([]byte("X=\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := parseNotification(data)
		if (err == nil) == (len(values) == 0) {
			t.Fatalf("%q, %v", values, err)
		}
		var lines []string
		for k, v := range values {
			if !validKey(k) || strings.ContainsAny(v, "\n\x00") || !strings.Contains(string(data), k+"="+v) {
				t.Fatalf("%q=%q", k, v)
			}
			lines = append(lines, k+"="+v)
		}
		if err != nil {
			return
		}
		again, err := parseNotification([]byte(strings.Join(lines, "\n")))
		if err != nil || !maps.Equal(again, values) {
			t.Fatalf("%q is read as %q, then as %q, %v", data, values, again, err)
		}
	})
}

func TestNotifierWithoutSupervisor(t *testing.T) {
	for _, n := range []*Notifier{nil, {}, NewNotifier("")} {
		if err := n.Send("READY=1"); err != nil {
			t.Error(err)
		}
		if err := n.Barrier(t.Context()); err != nil {
			t.Error(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	n := NewNotifier(t.TempDir() + "/nobody")
	if err := n.Send("READY=1"); err == nil || !strings.Contains(err.Error(), "cannot reach the supervisor's notify socket") {
		t.Error(err)
	}
}
