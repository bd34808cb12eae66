package conns

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// park is the handler whose name the stacks must show.
func park(release <-chan struct{}) { <-release }

func TestCutNamesWhatItCuts(t *testing.T) {
	release, hijacked := make(chan struct{}), make(chan bool)
	mux := http.NewServeMux()
	mux.HandleFunc("/", hello)
	mux.HandleFunc("/stuck/", func(http.ResponseWriter, *http.Request) { park(release) })
	mux.HandleFunc("/chat", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Hijack()
		hijacked <- true
	})
	h, g := serve(t, &http.Server{Handler: mux}, listen(t))

	stuck, idle, chat, part := newClient(t, g.Addr()), newClient(t, g.Addr()), newClient(t, g.Addr()), newClient(t, g.Addr())
	newClient(t, g.Addr()) // silent
	idle.get(t, "/")
	part.get(t, "/")
	io.WriteString(stuck, "PUT /stuck/7?key=secret HTTP/1.1\r\nHost: test\r\n\r\n")
	io.WriteString(chat, "GET /chat HTTP/1.1\r\nHost: test\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\r\n")
	<-hijacked
	until(t, "everybody is there", func() bool {
		s := h.Stats()
		return s.Open == 5 && s.New == 1 && s.Active == 1 && s.Idle == 2 && s.Hijacked == 1 && s.WebSocket == 1 && s.HTTP1 == 4 &&
			s.InFlight == 1 && s.Served == 3 // two answers and the upgrade
	})
	io.WriteString(part, "GET /half HT")
	until(t, "half a request is read", func() bool {
		cs, _ := h.tracker.all()
		return slices.ContainsFunc(cs, func(c *Conn) bool { return c.uses()[0].Reason == ReasonIncomplete })
	})

	cuts := h.Cut()
	var got []string
	for _, c := range cuts {
		if c.Age <= 0 || c.Age > patience || c.Remote == "" {
			t.Errorf("%+v", c)
		}
		got = append(got, strings.Join([]string{c.Reason, c.Kind, c.State, c.Method, c.Path}, " "))
	}
	slices.Sort(got)
	want := []string{
		"hijacked websocket hijacked GET /chat",
		"idle http1 idle  ",
		"in flight http1 active PUT /stuck/7",
		"request incomplete http1 idle  ",
		"silent http1 new  ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("cut\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if text, err := json.Marshal(cuts); err != nil || bytes.Contains(text, []byte("secret")) {
		t.Errorf("%s %v", text, err)
	}

	if _, err := stuck.in.ReadByte(); err == nil {
		t.Error("cut, but open")
	}
	until(t, "only the handler is left", func() bool { s := h.Stats(); return s.Open == 1 && s.Closed == 1 && s.InFlight == 0 })
	if again := h.Cut(); again != nil {
		t.Errorf("cut twice: %+v", again)
	}
	stacks := Stacks()
	if len(stacks) != 1 || !strings.Contains(stacks[0], "conns.park(") {
		t.Errorf("stacks of handlers:\n%s", strings.Join(stacks, "\n\n"))
	}
	if err := h.Wait(budget(t, time.Millisecond)); err == nil {
		t.Error("Wait does not wait for the handler")
	}
	close(release)
	if err := h.Wait(budget(t, patience)); err != nil {
		t.Error(err)
	}
}

func TestWaitKnowsHijackedConnections(t *testing.T) {
	h, g := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		go func() { io.Copy(c, c); c.Close() }()
	})}, listen(t))
	c := newClient(t, g.Addr())
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n")
	until(t, "hijack", func() bool { s := h.Stats(); return s.Hijacked == 1 && s.Other == 1 })
	io.WriteString(c, "echo")
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if err := h.Wait(budget(t, time.Millisecond)); err == nil {
		t.Error("a hijacked connection is left")
	}
	c.Close()
	if err := h.Wait(budget(t, patience)); err != nil {
		t.Error(err)
	}
}

func TestHandshakeIsNoRequest(t *testing.T) {
	h, g := serve(t, &http.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate()}}}, listen(t))
	c := tls.Client(dial(t, g.Addr()), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if cut := h.Cut(); len(cut) != 1 || cut[0].Reason != ReasonSilent || cut[0].State != "new" {
		t.Errorf("%+v", cut)
	}
}

func FuzzInHandler(f *testing.F) {
	f.Add([]byte("goroutine 1 [running]:\nmain.main()\n\ngoroutine 2 [select]:\nx/conns.(*handler).ServeHTTP(0x1)\n"))
	f.Add([]byte("\n\n\n\n"))
	f.Fuzz(func(t *testing.T, all []byte) {
		stacks := inHandler(all)
		if len(stacks) > bytes.Count(all, []byte(handlerFrame)) {
			t.Fatalf("%d stacks", len(stacks))
		}
		for _, s := range stacks {
			if !strings.Contains(s, handlerFrame) || !bytes.Contains(all, []byte(s)) {
				t.Fatalf("%q", s)
			}
		}
	})
}

func TestCutIdleLeavesWhoeverIsBusy(t *testing.T) {
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/", hello)
	mux.HandleFunc("/stuck", func(http.ResponseWriter, *http.Request) { park(release) })
	h, g := serve(t, &http.Server{Handler: mux}, listen(t))
	stuck, idle, silent, part := newClient(t, g.Addr()), newClient(t, g.Addr()), newClient(t, g.Addr()), newClient(t, g.Addr())
	idle.get(t, "/")
	io.WriteString(stuck, "GET /stuck HTTP/1.1\r\nHost: test\r\n\r\n")
	io.WriteString(part, "GET /half HT")
	until(t, "everybody is there", func() bool {
		s := h.Stats()
		cs, _ := h.tracker.all()
		return s.Open == 4 && s.Idle == 1 && s.InFlight == 1 &&
			slices.ContainsFunc(cs, func(c *Conn) bool { return c.uses()[0].Reason == ReasonIncomplete })
	})

	if cuts := h.CutIdle(time.Hour); cuts != nil {
		t.Errorf("cut before their time: %+v", cuts)
	}
	var got []string
	for _, c := range h.CutIdle(0) {
		got = append(got, c.Reason)
	}
	slices.Sort(got)
	if want := []string{ReasonIdle, ReasonSilent}; !slices.Equal(got, want) {
		t.Errorf("cut %v, want %v", got, want)
	}
	for _, c := range []*client{idle, silent} {
		if _, err := c.in.ReadByte(); err == nil {
			t.Error("cut, but open")
		}
	}
	close(release)
	if _, err := stuck.in.ReadByte(); err != nil {
		t.Errorf("the busy one was cut: %v", err)
	}
}
