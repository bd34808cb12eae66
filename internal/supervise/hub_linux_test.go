package supervise

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// TestLinksAreForgotten: a generation dials again and again, as one does that
// takes the supervisor for gone.
func TestLinksAreForgotten(t *testing.T) {
	h, err := openHub(t.TempDir(), nil, "test", &sockets{}, func(client.Event) {}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	h.add(&generation{number: 1, linked: make(chan struct{}), process: processOf(&handover.Process{PID: os.Getpid()})})
	h.start()
	defer h.close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range 20 {
		peer, err := handover.DialControl(ctx, h.control.Path())
		if err != nil {
			t.Fatal(err)
		}
		l := handover.NewLink(peer, func(context.Context, handover.Request) (handover.Fields, error) { return nil, nil })
		_, err = l.Call(ctx, handover.Hello, handover.Fields{"GENERATION": "1"})
		l.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		h.mu.Lock()
		left := len(h.links)
		h.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d links are kept", left)
		}
	}
}

// TestReadyComesWithItsSockets: who speaks the control wire says there which
// sockets it serves, and is not ready before that. What it opened itself would be
// closed otherwise, as something that nobody wants.
func TestReadyComesWithItsSockets(t *testing.T) {
	for _, steerable := range []bool{false, true} {
		g := newGeneration(1, recipe{}, os.Geteuid(), time.Now())
		g.process = process{PID: os.Getpid(), handle: &actor{pid: os.Getpid()}}
		if steerable {
			g.attach(&wire{}, g.process.PID, "starting")
		}
		h := &hub{known: map[int]*generation{1: g}, publish: func(client.Event) {}}
		h.hear(handover.Notification{PID: os.Getpid(), UID: os.Geteuid(), Values: map[string]string{"READY": "1"}}, nil)
		select {
		case <-g.Ready():
			if steerable {
				t.Error("it is ready, and what it serves is not known")
			}
		default:
			if !steerable {
				t.Error("it is not ready, and has no other way to say so")
			}
		}
	}
}
