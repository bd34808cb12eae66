package supervise

import (
	"cmp"
	"time"
)

// StopBudget is the longest that stopping everything in order may take: a restart
// under way is rolled back, then each service is stopped when those that depend on
// it are. Whoever supervises the supervisor should wait for as long.
func (p Plan) StopBudget() time.Duration {
	after := map[string]time.Duration{} // until a service and all that depend on it have ended
	var longest, rollback time.Duration
	ordered, err := p.order()
	if err != nil {
		ordered = p.Services
	}
	for i := len(ordered) - 1; i >= 0; i-- {
		m := ordered[i]
		own := m.Config.endBudget()
		rollback = max(rollback, own)
		done := after[m.Name] + own
		for _, d := range m.DependsOn {
			after[d] = max(after[d], done)
		}
		longest = max(longest, done)
	}
	return rollback + longest
}

// endBudget is the longest that one generation takes from being told to leave to
// its end.
func (c Config) endBudget() time.Duration {
	return c.DrainTimeout + cleanupPatience + cmp.Or(c.KillAfter, DefaultKillAfter)
}
