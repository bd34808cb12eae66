package segue

import (
	"encoding/json"
	"testing"
)

// TestTransitions has every phase meet every step.
func TestTransitions(t *testing.T) {
	const no = Phase(-1)
	//                   prepared alone open   pause   leave     drained  closed
	table := map[Phase][]Phase{
		Starting: {Paused, Ready, no, no, Closing, no, no},
		Paused:   {no, no, Ready, Paused, Draining, no, no},
		Ready:    {no, no, Ready, Paused, Draining, no, no},
		Draining: {no, no, no, no, no, Closing, no},
		Closing:  {no, no, no, no, no, no, Stopped},
		Stopped:  {no, no, no, no, no, no, no},
	}
	for p := Starting; p <= Stopped; p++ {
		for s := prepared; s <= closed; s++ {
			got, err := p.next(s)
			want := table[p][s]
			if want == no {
				if err == nil || got != p {
					t.Errorf("%v on %v: %v, %v; want a refusal", p, s, got, err)
				}
				continue
			}
			if err != nil || got != want {
				t.Errorf("%v on %v: %v, %v; want %v", p, s, got, err, want)
			}
		}
	}
}

// TestPhasesReachable: every phase can be come to from Starting, and every one
// but the last can be left for Stopped.
func TestPhasesReachable(t *testing.T) {
	reach := func(from Phase) map[Phase]bool {
		seen := map[Phase]bool{}
		var walk func(Phase)
		walk = func(p Phase) {
			if seen[p] {
				return
			}
			seen[p] = true
			for _, to := range transitions[p] {
				walk(to)
			}
		}
		walk(from)
		return seen
	}
	for p := Starting; p <= Stopped; p++ {
		if !reach(Starting)[p] {
			t.Errorf("%v cannot be reached", p)
		}
		if !reach(p)[Stopped] {
			t.Errorf("%v cannot be left", p)
		}
	}
}

func TestPhaseText(t *testing.T) {
	seen := map[string]bool{}
	for p := Starting; p <= Stopped; p++ {
		text, err := json.Marshal(p)
		if err != nil || seen[string(text)] {
			t.Errorf("phase %d is %s, %v", p, text, err)
		}
		seen[string(text)] = true
	}
	if got := Phase(99).String(); got != "Phase(99)" {
		t.Errorf("an unknown phase is called %q", got)
	}
}
