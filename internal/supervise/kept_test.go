//go:build linux

package supervise_test

import (
	"net"
	"testing"

	"github.com/segue-go/segue/client"
)

// TestSocketsThatNobodyNamed: without --listen the first generation opens its
// address itself. The next one finds it all the same.
func TestSocketsThatNobodyNamed(t *testing.T) {
	cfg := config(t)
	cfg.Listen = nil
	r := start(t, cfg)
	stop, lost := r.hammer()
	for range 2 {
		report := r.restart(client.RestartRequest{})
		if report.Outcome != client.Done {
			t.Fatalf("report %+v", report)
		}
	}
	stop()
	if l := lost(); len(l) > 0 {
		t.Errorf("lost %d: %v", len(l), l)
	}
	if s := r.status().Sockets; len(s) != 1 || s[0].Addr != r.addr {
		t.Errorf("sockets %+v, want %s", s, r.addr)
	}
}

// TestSocketsThatAreNotWantedAnyMore are closed: a client must not be left in
// the backlog of a socket that nobody serves.
func TestSocketsThatAreNotWantedAnyMore(t *testing.T) {
	cfg := config(t, "TEST_SERVICE=admin", "FAULT_ONLY=2") // which serves "admin" as well
	r := start(t, cfg)
	if report := r.restart(client.RestartRequest{}); report.Outcome != client.Done {
		t.Fatalf("report %+v", report)
	}
	sockets := r.status().Sockets
	if len(sockets) != 2 || sockets[1].Name != "admin" {
		t.Fatalf("sockets %+v, want web and admin", sockets)
	}
	if report := r.restart(client.RestartRequest{}); report.Outcome != client.Done {
		t.Fatalf("report %+v", report)
	}
	if left := r.status().Sockets; len(left) != 1 {
		t.Errorf("sockets %+v, want web alone", left)
	}
	if c, err := net.Dial("tcp", sockets[1].Addr); err == nil {
		c.Close()
		t.Error("the socket that nobody serves is open still")
	}
}

// TestSocketsOfAVersionThatFailed go with it.
func TestSocketsOfAVersionThatFailed(t *testing.T) {
	r := start(t, config(t, "TEST_SERVICE=adminthendies:400ms", "FAULT_AFTER=1"))
	if report := r.restart(client.RestartRequest{}); report.Outcome != client.RolledBack {
		t.Fatalf("report %+v", report)
	}
	if s := r.status().Sockets; len(s) != 1 {
		t.Errorf("sockets %+v, want web alone", s)
	}
}
