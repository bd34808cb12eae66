package supervise

import (
	"fmt"

	"github.com/segue-go/segue/client"
)

// event is what can happen to the state of a service.
type event int

const (
	up       event = iota // a start or restart has put a generation in service
	back                  // a restart was rolled back
	down                  // a start or restart has left nothing in service
	crashed               // the serving generation ended unasked
	finished              // it ended unasked, with status 0
	due                   // the pause before the next start is over
	restart               // somebody asked for a restart
	stop                  // somebody asked for the end
	giveUp                // too many crashes in a row
	gone                  // the last generation has ended
)

var eventNames = [...]string{"up", "back", "down", "crash", "finish", "due", "restart", "stop", "give up", "gone"}

func (e event) String() string { return eventNames[e] }

// transitions is the whole machine: what is not in the table cannot happen.
var transitions = map[client.State]map[event]client.State{
	client.Starting:   {up: client.Serving, down: client.BackingOff, stop: client.Stopping},
	client.Serving:    {restart: client.Restarting, crashed: client.BackingOff, finished: client.Stopping, stop: client.Stopping},
	client.Restarting: {up: client.Serving, back: client.Serving, down: client.BackingOff, stop: client.Stopping},
	client.BackingOff: {due: client.Starting, restart: client.Starting, giveUp: client.Failed, stop: client.Stopping},
	client.Stopping:   {gone: client.Stopped},
}

func next(from client.State, e event) (client.State, error) {
	to, ok := transitions[from][e]
	if !ok {
		return from, fmt.Errorf("cannot %v while the service is %s", e, from)
	}
	return to, nil
}
