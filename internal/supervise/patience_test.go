package supervise

import (
	"testing"
	"time"
)

// TestStopBudget: what depends on a service stops before it, what does not beside it.
func TestStopBudget(t *testing.T) {
	member := func(name string, drain time.Duration, depends ...string) Member {
		return Member{Config: Config{Name: name, DrainTimeout: drain, KillAfter: time.Second}, DependsOn: depends}
	}
	const ladder = cleanupPatience + time.Second
	for _, c := range []struct {
		name     string
		services []Member
		want     time.Duration
	}{
		{"one", []Member{member("a", 10*time.Second)}, 2 * (10*time.Second + ladder)},
		{"side by side", []Member{member("a", 10*time.Second), member("b", 20*time.Second)}, 2 * (20*time.Second + ladder)},
		{"a chain", []Member{member("web", 10*time.Second, "db"), member("db", time.Second), member("mail", 5*time.Second)},
			10*time.Second + ladder + 11*time.Second + 2*ladder},
		{"the longer branch counts", []Member{member("db", 0), member("a", time.Second, "db"), member("b", 9*time.Second, "db")},
			9*time.Second + ladder + 9*time.Second + 2*ladder},
	} {
		if got := (Plan{Services: c.services}).StopBudget(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
