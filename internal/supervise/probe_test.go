package supervise

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handover"
)

// TestHeld is what a TCP probe takes for a server.
func TestHeld(t *testing.T) {
	for name, test := range map[string]struct {
		server func(net.Conn)
		ok     bool
	}{
		"is silent":             {func(c net.Conn) { c.Read(make([]byte, 1)); c.Close() }, true},
		"greets":                {func(c net.Conn) { c.Write([]byte("220\r\n")); c.Close() }, true},
		"closes at once":        {func(c net.Conn) { c.Close() }, false},
		"resets":                {func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() }, false},
		"closes after a moment": {func(c net.Conn) { time.Sleep(heldFor / 3); c.Close() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			served := make(chan struct{})
			go func() {
				defer close(served)
				if c, err := ln.Accept(); err == nil {
					test.server(c)
				}
			}()
			err = held(t.Context(), func(ctx context.Context) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", ln.Addr().String())
			})
			if (err == nil) != test.ok {
				t.Errorf("error %v", err)
			}
			<-served
		})
	}
	refused := errors.New("connection refused")
	if err := held(t.Context(), func(context.Context) (net.Conn, error) { return nil, refused }); err != refused {
		t.Errorf("error %v", err)
	}
}

// TestCommandProbeIsNotRunTooOften: as long as it succeeds once a second is enough,
// and what has failed is asked at once.
func TestCommandProbeIsNotRunTooOften(t *testing.T) {
	dir := t.TempDir()
	g := &generation{number: 3, process: process{PID: 42}, recipe: recipe{Config: Config{Dir: dir}}}
	ask := func() error {
		return g.execute(t.Context(), 0, []string{"sh", "-c", `echo $SEGUE_GENERATION $SEGUE_PROBE_PID $SEGUE_SOCKET_WEB >>runs; test -f ok`}, []string{"SEGUE_SOCKET_WEB=127.0.0.1:80"})
	}
	runs := func() int {
		data, _ := os.ReadFile(filepath.Join(dir, "runs"))
		if text := strings.ReplaceAll(string(data), "3 42 127.0.0.1:80\n", ""); text != "" {
			t.Errorf("environment %s", text)
		}
		return strings.Count(string(data), "\n")
	}
	if first, second := ask(), ask(); first == nil || second == nil || runs() != 2 {
		t.Errorf("failing: %v, %v, %d runs, want 2", first, second, runs())
	}
	os.WriteFile(filepath.Join(dir, "ok"), nil, 0o600)
	if err := errors.Join(ask(), ask(), ask()); err != nil || runs() != 3 {
		t.Errorf("succeeding: %v, %d runs, want 3", err, runs())
	}
	g.probing.passed[0] = time.Now().Add(-commandEvery)
	if err := ask(); err != nil || runs() != 4 {
		t.Errorf("a second later: %v, %d runs, want 4", err, runs())
	}
	os.Remove(filepath.Join(dir, "ok"))
	g.probing.passed[0] = time.Now().Add(-commandEvery)
	if first, second := ask(), ask(); first == nil || second == nil || runs() != 6 {
		t.Errorf("failing again: %v, %v, %d runs, want 6", first, second, runs())
	}
}

func TestReachable(t *testing.T) {
	s := &sockets{}
	for name, addr := range map[string]net.Addr{
		"web": &net.TCPAddr{IP: net.IPv6unspecified, Port: 80}, "web-2": &net.TCPAddr{IP: net.IPv4zero, Port: 81},
		"a.b": &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 82}, "u_1": &net.UnixAddr{Name: "/run/x", Net: "unix"},
	} {
		s.list = append(s.list, socket{Socket: handover.Socket{Name: name}, addr: addr})
	}
	all := strings.Join(s.environ(), " ")
	for _, want := range []string{"SEGUE_SOCKET_WEB=127.0.0.1:80", "SEGUE_SOCKET_WEB_2=127.0.0.1:81", "SEGUE_SOCKET_A_B=10.0.0.1:82", "SEGUE_SOCKET_U_1=unix:/run/x"} {
		if !strings.Contains(" "+all+" ", " "+want+" ") {
			t.Errorf("%s is not in %s", want, all)
		}
	}
}

func TestProbesWithin(t *testing.T) {
	c := Config{Probes: []Probe{{Path: "/"}, {TCP: true, Timeout: 2 * time.Second}}}
	if d := c.probesWithin(); d != DefaultProbeTimeout+2*time.Second+probeSpare {
		t.Errorf("%v", d)
	}
}
