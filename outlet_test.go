package segue

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/handover"
)

func problem(i int) Event { return Problem{fmt.Errorf("%d", i)} }

// TestEventsInOrder, none lost, while the sink keeps up.
func TestEventsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		o := newOutlet(func(e Event) { got = append(got, e.String()) })
		for i := range maxQueued {
			o.emit(problem(i))
		}
		o.close(time.Second)
		for i, text := range got {
			if text != fmt.Sprint(i) {
				t.Fatalf("event %d is %q", i, text)
			}
		}
		if len(got) != maxQueued {
			t.Errorf("%d of %d events arrived", len(got), maxQueued)
		}
	})
}

// TestSlowSink: events are dropped and counted; nobody who emits ever waits.
func TestSlowSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		letGo := make(chan struct{})
		o := newOutlet(func(e Event) {
			<-letGo
			got = append(got, e.String())
		})
		o.emit(problem(0))
		synctest.Wait() // the sink has it, and is stuck
		for i := range maxQueued + 7 {
			o.emit(problem(i + 1))
		}
		close(letGo)
		synctest.Wait()
		o.emit(problem(-1))
		o.close(time.Second)
		if want := maxQueued + 3; len(got) != want {
			t.Fatalf("%d events arrived, want %d", len(got), want)
		}
		if text := got[maxQueued+1]; !strings.HasPrefix(text, "7 events were dropped") {
			t.Errorf("after the gap: %q", text)
		}
		if text := got[maxQueued+2]; text != "-1" {
			t.Errorf("after the notice: %q", text)
		}
	})
}

// TestStuckSink costs the end of the service its budget, and no more.
func TestStuckSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letGo := make(chan struct{})
		o := newOutlet(func(Event) { <-letGo })
		o.emit(problem(0))
		began := time.Now()
		o.close(time.Second)
		if took := time.Since(began); took != time.Second {
			t.Errorf("close took %v", took)
		}
		o.emit(problem(1)) // refused, not queued
		close(letGo)
	})
}

func TestNoSink(t *testing.T) {
	o := newOutlet(nil)
	o.emit(problem(0))
	o.close(0)
}

// TestEventTexts: a line each, that says what one needs to know.
func TestEventTexts(t *testing.T) {
	err := fmt.Errorf("no route")
	for want, e := range map[string]Event{
		"draining: SIGTERM":                PhaseChanged{Ready, Draining, "SIGTERM"},
		"ready":                            PhaseChanged{From: Paused, To: Ready},
		"web: serving :1":                  Listening{Server: "web", Addr: ":1"},
		"web: serving :1 (inherited)":      Listening{"web", ":1", true},
		`waiting for check "db": no route`: CheckFailed{"db", err},
		"SIGHUP: reloading":                SignalReceived{"SIGHUP", "reloading"},
		"drain 2s of 30s":                  StepEnded{Step{Name: "drain", Took: 2 * time.Second, Budget: 30 * time.Second}},
		"waiting for 1 requests and 1 idle of 2 connections, at most 3s longer": Waiting{1, 2, 1, 3 * time.Second},
		"cut http1 connection of 10.0.0.1:9: in flight GET /a (1s old)": ConnectionCut{conns.Cut{
			Use: conns.Use{Kind: "http1", Method: "GET", Path: "/a", Remote: "10.0.0.1:9", Age: time.Second}, Reason: conns.ReasonInFlight}},
		"cut http1 connection of 10.0.0.1:9: idle (0s old)": ConnectionCut{conns.Cut{Use: conns.Use{Kind: "http1", Remote: "10.0.0.1:9"}, Reason: conns.ReasonIdle}},
		"2 connections moved":                               ConnectionsMoved{Departed: 2},
		"took over 1 connection":                            ConnectionsMoved{Arrived: 1},
		"web: live connections: none":                       LiveConnections{Server: "web"},
		"moved 0 connections in 2ms; 3 stayed: TLS 1.2 (2), a (1)": ConnectionsMoved{Move: &Move{
			Stayed: map[string]int{"TLS 1.2": 2, "a": 1}, MoveTook: 2 * time.Millisecond}},
		"moved 412 connections (400 websocket, 12 sse) in 600ms, longest pause 8ms; 3 stayed: TLS 1.2": ConnectionsMoved{Departed: 412, Move: &Move{
			Moved: map[string]int{"sse": 12, "websocket": 400}, Stayed: map[string]int{"TLS 1.2": 3}, MoveTook: 600 * time.Millisecond, LongestPause: 8 * time.Millisecond}},
		`task "relay" ended`:                                    TaskEnded{Task: "relay"},
		`task "relay" ended: no route`:                          TaskEnded{"relay", err},
		"handover: trial …":                                     HandoverStep{handover.Step{Name: handover.StepTrial}},
		"handover: trial 1s: no route":                          HandoverStep{handover.Step{Name: handover.StepTrial, Ended: true, Took: time.Second, Error: "no route"}},
		"handover: done, process 7 serves":                      HandoverEnded{PID: 7},
		"handover: rolled back: no route; this process goes on": HandoverEnded{Report: handover.Report{Outcome: handover.RolledBack, Reason: "no route"}},
		"reloaded":                 Reloaded{},
		"not reloaded: no route":   Reloaded{err},
		"goroutines:\ngoroutine 1": Goroutines{"goroutine 1"},
		"no route":                 Problem{err},
		"left in 1s (SIGTERM): 1 in flight, 1 finished, 0 cut": Reported{Report{Took: time.Second, Reason: "SIGTERM", InFlight: 1, Finished: 1}},
	} {
		if got := e.String(); got != want {
			t.Errorf("%T says %q, want %q", e, got, want)
		}
	}
}
