package supervise

import (
	"cmp"
	"slices"
)

// sequel is what follows an end of the serving generation that nobody asked for.
// docs/SUPERVISION.md has the table.
type sequel string

const (
	completed sequel = "stopped"       // it has done what it was for
	repeated  sequel = "started again" // after a pause; it was no failure
	retried   sequel = "tried again"   // after a pause; too many of these in a row are the end
	abandoned sequel = "failed"
)

// after says what follows the end with an exit code (of [handover.Process]), or by
// the watchdog.
func (c Config) after(code int, silent bool) sequel {
	failure := silent || code != 0 && !slices.Contains(c.Expected, code)
	switch policy := cmp.Or(c.Restart, OnFailure); {
	case policy == Always && !failure:
		return repeated
	case policy == Never && failure:
		return abandoned
	case !failure:
		return completed
	}
	return retried
}
