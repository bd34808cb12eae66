package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/olahol/melody"

	"github.com/segue-go/segue/conns"
)

// TestLibrariesGoOnUnderHeartbeats: no library minds a pong that it has not asked
// for, and all of them end when their client was told goodbye.
func TestLibrariesGoOnUnderHeartbeats(t *testing.T) {
	m := melody.New() // melodyEcho's cannot be closed
	defer m.Close()
	m.HandleMessage(func(s *melody.Session, message []byte) { s.Write(message) })
	routes := http.NewServeMux()
	routes.HandleFunc("/ws/gorilla", gorillaEcho)
	routes.HandleFunc("/ws/coder", coderEcho)
	routes.HandleFunc("/ws/gobwas", gobwasEcho)
	routes.HandleFunc("/ws/gws", gwsEcho())
	routes.HandleFunc("/ws/melody", func(w http.ResponseWriter, r *http.Request) { m.HandleRequest(w, r) })
	h := conns.NewHTTP(&http.Server{Handler: routes})
	h.SetLimits(conns.Limits{Heartbeat: 10 * time.Millisecond, Misses: 1000})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gate := conns.NewGate(ln)
	served := make(chan error, 1)
	go func() { served <- h.Serve(gate) }()

	clients := map[string]*gorilla.Conn{}
	for _, name := range []string{"gorilla", "coder", "gobwas", "gws", "melody"} {
		c, _, err := gorilla.DefaultDialer.Dial(fmt.Sprintf("ws://%s/ws/%s", ln.Addr(), name), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		clients[name] = c
	}
	for name, c := range clients {
		pings, pong := 0, c.PingHandler()
		c.SetPingHandler(func(data string) error {
			if pings++; pings%3 == 0 {
				return errors.Join(pong(data), c.WriteMessage(gorilla.TextMessage, []byte("between")))
			}
			return pong(data)
		})
		for range 5 {
			if _, message, err := c.ReadMessage(); err != nil || string(message) != "between" {
				t.Fatalf("%s: %q, %v after %d pings", name, message, err, pings)
			}
		}
		c.SetPingHandler(pong)
	}
	gate.Shut()
	h.Announce()
	for name, c := range clients {
		var told *gorilla.CloseError
		var err error
		for err == nil {
			_, _, err = c.ReadMessage()
		}
		if !errors.As(err, &told) || told.Code != gorilla.CloseServiceRestart {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := h.Wait(ctx); err != nil {
		t.Errorf("left: %+v", h.InFlight())
	}
	if s := h.Stats().Live; s.Closed != 5 || s.Dead > 0 {
		t.Errorf("%+v", s)
	}
	if err := h.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
