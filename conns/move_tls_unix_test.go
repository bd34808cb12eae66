//go:build unix

package conns

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
)

// TestChurnTLS is TestChurn over TLS 1.3: every write of a client is a record of
// its own, so records are cut as the frames are.
func TestChurnTLS(t *testing.T) {
	churnOver(t, &tls.Config{Certificates: []tls.Certificate{certificate()}}, 6, 20)
}

// TestUnknownTLS: where the state of crypto/tls cannot be exported its connections
// stay, unharmed, and are told; that is logged once; and everybody else moves.
func TestUnknownTLS(t *testing.T) {
	withTLS(t, func(t *testing.T, config *tls.Config) {
		p := newPair(t, config, func(g string) http.Handler { return wsEcho(g, movable) })
		var logged bytes.Buffer // only a departure writes to it
		p.old.srv.ErrorLog = log.New(&logged, "", 0)
		p.old.probeTLS = func() error { return errors.New("no such layout") }
		var sockets, idle []*client
		for range 3 {
			ws, c := p.dial(t, config), p.dial(t, config)
			ws.upgrade(t)
			c.get(t, "/")
			sockets, idle = append(sockets, ws), append(idle, c)
		}
		until(t, "their answers are over", func() bool { return p.old.Stats().Idle == len(idle) })
		p.gate.Shut()
		f := newFerry(t, p.new)
		first := p.old.Move(budget(t, patience), f)
		if config == nil {
			if first.Moved["websocket"] != 3 || first.Moved["http1"] != 3 || logged.Len() > 0 {
				t.Fatalf("%+v, %q", first, &logged)
			}
			return
		}
		p.gate.Open()
		old := newClient(t, p.ln.Addr())
		tc := tls.Client(old.Conn, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		old = &client{tc, bufio.NewReader(tc)}
		old.get(t, "/")
		p.gate.Shut()
		if len(first.Moved) > 0 || first.Failure != "" {
			t.Errorf("%+v", first)
		}
		for i, c := range sockets { // nobody was told yet
			if got := c.say(t, fmt.Sprint(i)); got != fmt.Sprint("old:", i) {
				t.Errorf("got %q", got)
			}
		}
		d := p.old.Depart(budget(t, patience), f)
		if len(d.Moved) > 0 || d.Failure != "" || d.Stayed[reasonNoExport] != 6 || d.Stayed[reasonTLS] != 1 {
			t.Errorf("%+v", d)
		}
		for _, c := range sockets {
			if code, _ := c.goodbye(t); code != closeRestart {
				t.Errorf("told %d", code)
			}
		}
		for _, c := range append(idle, old) {
			resp, body, err := c.ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
			if err != nil || body != "old" || !resp.Close {
				t.Errorf("%q, %v, told: %v", body, err, resp != nil && resp.Close)
			}
			if _, err := c.in.ReadByte(); err != io.EOF {
				t.Errorf("told, and the connection is open: %v", err)
			}
		}
		if told := p.old.Told(); told[reasonNoExport] != 6 || told[reasonTLS] != 1 {
			t.Errorf("told: %v", told)
		}
		if n := strings.Count(logged.String(), "no such layout"); n != 1 || strings.Count(logged.String(), "\n") != 1 {
			t.Errorf("logged %d times:\n%s", n, &logged)
		}
	})
}
