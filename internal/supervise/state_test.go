package supervise

import (
	"testing"

	"github.com/segue-go/segue/client"
)

// TestTransitions has every state meet every event.
func TestTransitions(t *testing.T) {
	const no = client.State("")
	const (
		starting, serving, restarting = client.Starting, client.Serving, client.Restarting
		backing, stopping             = client.BackingOff, client.Stopping
		stopped, failed               = client.Stopped, client.Failed
	)
	//                 up       back     down     crashed  finished due       restart     stop      giveUp  gone
	table := map[client.State][]client.State{
		starting:   {serving, no, backing, no, no, no, no, stopping, no, no},
		serving:    {no, no, no, backing, stopping, no, restarting, stopping, no, no},
		restarting: {serving, serving, backing, no, no, no, no, stopping, no, no},
		backing:    {no, no, no, no, no, starting, starting, stopping, failed, no},
		stopping:   {no, no, no, no, no, no, no, no, no, stopped},
		stopped:    {no, no, no, no, no, no, no, no, no, no},
		failed:     {no, no, no, no, no, no, no, no, no, no},
	}
	for from, row := range table {
		for e := up; e <= gone; e++ {
			to, err := next(from, e)
			switch want := row[e]; {
			case want == no && (err == nil || to != from):
				t.Errorf("%s on %v: %s, %v; want a refusal", from, e, to, err)
			case want != no && (err != nil || to != want):
				t.Errorf("%s on %v: %s, %v; want %s", from, e, to, err, want)
			}
		}
	}
	if len(table) != 7 || len(transitions) != 5 {
		t.Errorf("%d states are tested, %d can be left", len(table), len(transitions))
	}
}
