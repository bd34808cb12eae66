package segue

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/internal/testnet"
)

// TestLiveConnectionsAreTold, by kind and state, when the numbers change.
func TestLiveConnectionsAreTold(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", hello)
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := testnet.UpgradeWebSocket(w)
		if err != nil {
			return
		}
		defer c.Close()
		for _, err := c.Receive(); err == nil; _, err = c.Receive() {
		}
	})
	r := begin(t, Options{Limits: conns.Limits{Max: 2}, IdleTimeout: -1}, func(_ context.Context, app *App) error {
		app.HTTP("web", "127.0.0.1:0", mux)
		app.HTTP("silent", "127.0.0.1:0", mux)
		return nil
	}).ready(t)
	told := func(want conns.Live) LiveConnections {
		t.Helper()
		return awaitEvent(t, r.record, func(e LiveConnections) bool { return e.Live == want })
	}
	var sockets []*testnet.WebSocket
	for range 3 {
		c, err := testnet.DialWebSocket(r.addr(t, "web"), "/ws")
		if err != nil {
			continue // too many
		}
		c.SetDeadline(time.Now().Add(patience))
		defer c.Close()
		sockets = append(sockets, c)
	}
	if len(sockets) != 2 {
		t.Fatalf("%d connections were upgraded", len(sockets))
	}
	first := told(conns.Live{WebSocket: conns.LiveState{Normal: 2}, Refused: 1})
	if got := first.String(); got != "web: live connections: 2 websocket; so far 1 refused" {
		t.Errorf("told %q", got)
	}
	sockets[0].Close()
	told(conns.Live{WebSocket: conns.LiveState{Normal: 1}, Closed: 1, Refused: 1})
	r.stop()
	told(conns.Live{WebSocket: conns.LiveState{Draining: 1}, Closed: 1, Refused: 1}) // until it answers
	if _, err := sockets[1].Receive(); err == nil || !strings.Contains(err.Error(), "1001") {
		t.Errorf("told %v", err)
	}
	sockets[1].Close()
	if _, err := r.ended(t); err != nil {
		t.Error(err)
	}
	told(conns.Live{Closed: 2, Refused: 1})
	var last LiveConnections
	for _, e := range eventsOf[LiveConnections](r.record) {
		if e.Server != "web" || e == last {
			t.Errorf("nothing has changed: %v", e)
		}
		last = e
	}
}

func TestLiveText(t *testing.T) {
	for want, l := range map[string]conns.Live{
		"ready": {},
		"ready; live connections: none; so far 7 closed": {Closed: 7},
		"ready; live connections: 9 websocket (2 draining), 1 sse, 3 other (3 draining); so far 1 moved in, 2 moved out, 3 dead, 4 expired": sum(
			conns.Live{WebSocket: conns.LiveState{Normal: 7, Draining: 2}, SSE: conns.LiveState{Normal: 1}, MovedIn: 1, Dead: 1},
			conns.Live{Other: conns.LiveState{Draining: 3}, MovedOut: 2, Dead: 2, Expired: 4}),
	} {
		if got := withLive("ready", l); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
