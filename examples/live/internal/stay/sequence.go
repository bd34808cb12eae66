package stay

import (
	"strconv"
	"time"
)

// sequence checks events whose numbers have no gap.
type sequence struct {
	*client
	last   int
	missed map[int]bool
}

// got accounts for event n, which was to be sent at the time that text says, in
// nanoseconds, if it says one.
func (s *sequence) got(n int, text string) {
	switch {
	case n == s.last+1:
		s.last = n
		s.tally.add(func(c *Count) { c.Received++ })
		if at, err := strconv.ParseInt(text, 10, 64); err == nil {
			s.tally.paused(s.n, time.Since(time.Unix(0, at)))
		}
	case n > s.last:
		s.example("event %d after %d", n, s.last)
		if s.missed == nil {
			s.missed = map[int]bool{}
		}
		for i := s.last + 1; i < n; i++ {
			s.missed[i] = true
		}
		s.last = n
	case s.missed[n]:
		delete(s.missed, n)
		s.tally.add(func(c *Count) { c.Reordered++ })
	default:
		s.tally.add(func(c *Count) { c.Duplicated++ })
		s.example("event %d again, after %d", n, s.last)
	}
}

// settle counts what never came, of total.
func (s *sequence) settle(total int) {
	lost := len(s.missed) + max(0, total-s.last)
	s.tally.add(func(c *Count) { c.Lost += lost })
	if lost > 0 {
		s.example("%d events were lost: the last is %d of %d", lost, s.last, total)
	}
	if s.last > total {
		s.tally.add(func(c *Count) { c.Wrong++ })
		s.example("event %d of %d", s.last, total)
	}
}
