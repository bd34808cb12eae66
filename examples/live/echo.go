package main

import (
	"net/http"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"
	"github.com/olahol/melody"
)

// The echo of five libraries, each as its own documentation has it. Nothing in
// them is for Segue.

const maxMessage = 1 << 20

var upgrader gorilla.Upgrader

func gorillaEcho(w http.ResponseWriter, r *http.Request) {
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it has answered
	}
	defer c.Close()
	c.SetReadLimit(maxMessage)
	for {
		kind, message, err := c.ReadMessage()
		if err != nil {
			return
		}
		if err := c.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

func coderEcho(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(maxMessage)
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

func gobwasEcho(w http.ResponseWriter, r *http.Request) {
	c, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		message, op, err := wsutil.ReadClientData(c)
		if err != nil {
			return
		}
		if err := wsutil.WriteServerMessage(c, op, message); err != nil {
			return
		}
	}
}

// gwsHandler echoes; whatever else happens is for gws to handle.
type gwsHandler struct{ gws.BuiltinEventHandler }

func (gwsHandler) OnPing(c *gws.Conn, payload []byte) { _ = c.WritePong(payload) }

func (gwsHandler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}

func gwsEcho() http.HandlerFunc {
	upgrader := gws.NewUpgrader(gwsHandler{}, &gws.ServerOption{ReadMaxPayloadSize: maxMessage})
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		go c.ReadLoop() // the handler returns, as the documentation of gws advises; the connection goes on
	}
}

func melodyEcho() http.HandlerFunc {
	m := melody.New()
	m.Config.MaxMessageSize = maxMessage
	m.HandleMessage(func(s *melody.Session, message []byte) { _ = s.Write(message) })
	m.HandleMessageBinary(func(s *melody.Session, message []byte) { _ = s.WriteBinary(message) })
	return func(w http.ResponseWriter, r *http.Request) { _ = m.HandleRequest(w, r) }
}
