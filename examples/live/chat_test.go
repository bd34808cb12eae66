package main

import "testing"

// TestRoomGoesOn: from what it was when it came, not from an attempt to move it here
// that has failed.
func TestRoomGoesOn(t *testing.T) {
	r := &Room{}
	first := []byte(`{"N":2,"History":[{"n":1},{"n":2}]}`)
	r.goOn(first)
	r.say("here")
	r.goOn(first) // another member
	if r.N != 3 || r.moved != 2 || len(r.History) != 3 {
		t.Errorf("%+v", r)
	}
	r.goOn([]byte(`{"N":5,"History":[{"n":5}]}`))
	r.goOn(first) // late
	if r.N != 5 || r.moved != 5 || len(r.History) != 1 {
		t.Errorf("it was not replaced: %+v", r)
	}
}
