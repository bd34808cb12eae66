package handler

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
	"github.com/segue-go/segue/examples/shop/internal/model"
	"github.com/segue-go/segue/examples/shop/internal/service"
)

const (
	chatPing       = 30 * time.Second
	chatPong       = 35 * time.Second // a ping not answered by then means the client is gone
	chatWrite      = 10 * time.Second
	chatMaxMessage = 16 << 10
	chatMaxName    = 64
)

// Chat answers /api/chat.
type Chat struct {
	chat    *service.Chat
	leaving Leaving
	log     *slog.Logger
}

// NewChat returns the handler of the support chat.
func NewChat(chat *service.Chat, leaving Leaving, log *slog.Logger) *Chat {
	return &Chat{chat, leaving, log}
}

// chatFrame is what the server sends: "open" with the id the conversation goes
// on after, "message", or "error" with the ref it is about.
type chatFrame struct {
	Type    string             `json:"type"`
	After   *int64             `json:"after,omitempty"`
	Message *model.ChatMessage `json:"message,omitempty"`
	Ref     string             `json:"ref,omitempty"`
	Error   string             `json:"error,omitempty"`
}

// Serve answers GET /api/chat?name=&after= by speaking WebSocket. A client
// sends {"ref","text"} and gets every line of the chat with an id above after,
// its own included: seeing its ref come back is the acknowledgement. When the
// server is leaving it closes with 1012; a client that then comes back with
// ?after= and sends again what was not acknowledged has lost nothing and said
// nothing twice.
func (h *Chat) Serve(c *gin.Context) {
	ctx := c.Request.Context()
	name := c.DefaultQuery("name", "guest")
	if len(name) > chatMaxName {
		fail(c, apperr.New(apperr.Invalid, "name must have at most %d bytes", chatMaxName))
		return
	}
	newest, err := h.chat.Newest(ctx)
	if err != nil {
		fail(c, err)
		return
	}
	after, err := intQuery(c, "after", newest, 0, 1<<62)
	if err != nil {
		fail(c, err)
		return
	}
	ws, err := websocket.Accept(c.Writer, c.Request, &websocket.AcceptOptions{
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		_ = c.Error(err) // Accept has answered
		return
	}
	ws.SetReadLimit(chatMaxMessage)
	ctx, cancel := context.WithCancel(ctx)
	talk := &talk{Chat: h, ws: ws, name: name, after: min(after, newest), heard: make(chan []byte)}
	var helpers sync.WaitGroup
	helpers.Go(func() { defer cancel(); talk.listen(ctx) })
	helpers.Go(func() { defer cancel(); talk.heartbeat(ctx) })
	talk.run(ctx)
	cancel()
	_ = ws.CloseNow()
	helpers.Wait()
}

// talk is one connection. run owns it; listen and heartbeat only feed and end it.
type talk struct {
	*Chat
	ws    *websocket.Conn
	name  string
	after int64
	heard chan []byte
}

func (t *talk) run(ctx context.Context) {
	if t.send(ctx, chatFrame{Type: "open", After: &t.after}) != nil {
		return
	}
	leaving := t.leaving(ctx)
	for {
		items, changed, err := t.chat.Next(ctx, t.after)
		if err != nil {
			t.closeFor(ctx, err)
			return
		}
		for i := range items {
			if t.send(ctx, chatFrame{Type: "message", Message: &items[i]}) != nil {
				return
			}
			t.after = items[i].ID
		}
		if len(items) > 0 {
			changed = closed
		}
		// Nothing is half done here: every line that was stored has been sent back
		// or will be to whoever asks with after.
		select {
		case <-leaving:
			_ = t.ws.Close(websocket.StatusServiceRestart, "the server restarts, please come back")
			return
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-leaving:
		case <-changed:
		case data := <-t.heard:
			if err := t.say(ctx, data); err != nil {
				t.closeFor(ctx, err)
				return
			}
		}
	}
}

// say stores one line and sends what is new, the line included. A line that is
// refused is answered and the conversation goes on.
func (t *talk) say(ctx context.Context, data []byte) error {
	var n model.NewChatMessage
	if err := json.Unmarshal(data, &n); err != nil {
		return t.send(ctx, chatFrame{Type: "error", Error: "a message is a JSON object with ref and text"})
	}
	id, err := t.chat.Say(ctx, t.name, n)
	var refused *apperr.Error
	switch {
	case errors.As(err, &refused):
		return t.send(ctx, chatFrame{Type: "error", Ref: n.Ref, Error: refused.Message})
	case err != nil:
		return err
	case id <= t.after:
		// A repetition of a line from before this conversation: acknowledge it again.
		return t.send(ctx, chatFrame{Type: "message", Message: &model.ChatMessage{ID: id, Ref: n.Ref, From: t.name, Text: n.Text}})
	}
	for t.after < id {
		items, err := t.chat.After(ctx, t.after) // waiting for the feed would cap one client at its pace
		if err != nil {
			return err
		}
		for i := range items {
			if err := t.send(ctx, chatFrame{Type: "message", Message: &items[i]}); err != nil {
				return err
			}
			t.after = items[i].ID
		}
	}
	return nil
}

func (t *talk) send(ctx context.Context, f chatFrame) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, chatWrite)
	defer cancel()
	return t.ws.Write(ctx, websocket.MessageText, data)
}

// closeFor ends the conversation because of a failure on this side.
func (t *talk) closeFor(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // the client is gone
	}
	t.log.WarnContext(ctx, "chat ends early", "err", err)
	_ = t.ws.Close(websocket.StatusTryAgainLater, "something went wrong here, please come back")
}

// listen hands lines to run until the connection ends. Whatever ends it is
// seen by the client as well, so nothing is reported.
func (t *talk) listen(ctx context.Context) {
	for {
		_, data, err := t.ws.Read(ctx)
		if err != nil {
			return
		}
		select {
		case t.heard <- data:
		case <-ctx.Done():
			return
		}
	}
}

func (t *talk) heartbeat(ctx context.Context) {
	tick := time.NewTicker(chatPing)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pong, cancel := context.WithTimeout(ctx, chatPong)
		err := t.ws.Ping(pong)
		cancel()
		if err != nil {
			return
		}
	}
}
