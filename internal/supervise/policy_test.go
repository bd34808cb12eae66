package supervise

import "testing"

// TestPolicy is the table of docs/SUPERVISION.md.
func TestPolicy(t *testing.T) {
	const killed, terminated, unknown = 128 + 9, 128 + 15, -1
	expected := []int{3, terminated}
	for _, end := range []struct {
		name                     string
		code                     int
		silent                   bool
		always, onFailure, never sequel
	}{
		{"status 0", 0, false, repeated, completed, completed},
		{"expected status", 3, false, repeated, completed, completed},
		{"expected signal", terminated, false, repeated, completed, completed},
		{"other status", 1, false, retried, retried, abandoned},
		{"other signal", killed, false, retried, retried, abandoned},
		{"not known", unknown, false, retried, retried, abandoned},
		{"watchdog, status 2", 2, true, retried, retried, abandoned},
		{"watchdog, status 0", 0, true, retried, retried, abandoned},
		{"watchdog, expected status", 3, true, retried, retried, abandoned},
	} {
		for policy, want := range map[Policy]sequel{Always: end.always, OnFailure: end.onFailure, "": end.onFailure, Never: end.never} {
			if got := (Config{Restart: policy, Expected: expected}).after(end.code, end.silent); got != want {
				t.Errorf("%s, policy %q: %s, want %s", end.name, policy, got, want)
			}
		}
	}
}
