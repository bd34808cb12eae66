package shop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// talker is a client of the support chat.
type talker struct {
	t   *testing.T
	ctx context.Context
	ws  *websocket.Conn
}

type frame struct {
	Type    string
	After   int64
	Ref     string
	Error   string
	Message struct {
		ID              int64
		Ref, From, Text string
	}
}

func (g *generation) talk(query string) *talker {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	ws, _, err := websocket.Dial(ctx, g.URL+"/api/chat"+query, &websocket.DialOptions{HTTPClient: g.Client()})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { ws.CloseNow(); cancel() })
	return &talker{g.t, ctx, ws}
}

func (c *talker) hear() (f frame) {
	c.t.Helper()
	_, data, err := c.ws.Read(c.ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		c.t.Fatalf("%v in %s", err, data)
	}
	return f
}

func (c *talker) say(data string) {
	c.t.Helper()
	if err := c.ws.Write(c.ctx, websocket.MessageText, []byte(data)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *talker) wantOpen(after int64) {
	c.t.Helper()
	if f := c.hear(); f.Type != "open" || f.After != after {
		c.t.Fatalf("%+v, want open after %d", f, after)
	}
}

func (c *talker) wantMessage(id int64, ref, from, text string) {
	c.t.Helper()
	want := fmt.Sprintf("{%d %s %s %s}", id, ref, from, text)
	if f := c.hear(); f.Type != "message" || fmt.Sprint(f.Message) != want {
		c.t.Fatalf("%+v, want message %s", f, want)
	}
}

func TestChatOverTwoGenerations(t *testing.T) {
	dir := t.TempDir()
	old, young := start(t, dir), start(t, dir)
	ann, bob := old.talk("?name=ann"), young.talk("?name=bob")
	ann.wantOpen(0)
	bob.wantOpen(0)
	ann.say(`{"ref":"a1","text":"where is my tea?"}`)
	ann.wantMessage(1, "a1", "ann", "where is my tea?")
	bob.wantMessage(1, "a1", "ann", "where is my tea?")
	bob.say(`{"ref":"b1","text":"on its way"}`)
	bob.wantMessage(2, "b1", "bob", "on its way")
	ann.wantMessage(2, "b1", "bob", "on its way")

	old.leave()
	_, _, err := ann.ws.Read(ann.ctx)
	if code := websocket.CloseStatus(err); code != websocket.StatusServiceRestart {
		t.Fatalf("closed with %v (%v), want 1012", code, err)
	}
	bob.say(`{"text":"still there?"}`)
	bob.wantMessage(3, "", "bob", "still there?")

	// Ann is back, has missed nothing, and repeats a line she is not sure of.
	ann = young.talk("?name=ann&after=2")
	ann.wantOpen(2)
	ann.wantMessage(3, "", "bob", "still there?")
	ann.say(`{"ref":"a1","text":"where is my tea?"}`)
	ann.wantMessage(1, "a1", "ann", "where is my tea?")
	ann.say(`{"ref":"a2","text":"thanks"}`)
	ann.wantMessage(4, "a2", "ann", "thanks")
	if _, body := young.do("GET", "/api/ledger?prefix=a", ""); body != `{"entries":[{"id":"a1","count":1},{"id":"a2","count":1}]}` {
		t.Error(body)
	}
}

func TestChatRefusesALineAndGoesOn(t *testing.T) {
	g := start(t, t.TempDir())
	c := g.talk("")
	c.wantOpen(0)
	for line, want := range map[string]string{
		`not JSON`:                     "JSON object",
		`{"ref":"e1","text":"  "}`:     "text must have",
		`{"ref":"e 2","text":"hello"}`: "may hold letters",
		`{"ref":"e3","text":"` + strings.Repeat("x", 5000) + `"}`: "text must have",
	} {
		c.say(line)
		if f := c.hear(); f.Type != "error" || !strings.Contains(f.Error, want) {
			t.Errorf("%.30s: %+v, want an error with %q", line, f, want)
		}
	}
	c.say(`{"ref":"ok","text":"hello"}`)
	c.wantMessage(1, "ok", "guest", "hello")
}

func TestChatManyLinesInARow(t *testing.T) {
	g := start(t, t.TempDir())
	c := g.talk("")
	c.wantOpen(0)
	const lines = 200
	go func() {
		for i := range lines {
			c.ws.Write(c.ctx, websocket.MessageText, fmt.Appendf(nil, `{"ref":"m%d","text":"%d"}`, i, i))
		}
	}()
	for i := range lines {
		c.wantMessage(int64(i+1), fmt.Sprintf("m%d", i), "guest", fmt.Sprint(i))
	}
}

func TestChatNeedsWebSocket(t *testing.T) {
	g := start(t, t.TempDir())
	if res, body := g.do("GET", "/api/chat", ""); res.StatusCode != 426 {
		t.Errorf("%s %s, want 426", res.Status, body)
	}
	if res, body := g.do("GET", "/api/chat?name="+strings.Repeat("n", 65), ""); res.StatusCode != 400 {
		t.Errorf("%s %s, want 400", res.Status, body)
	}
}
