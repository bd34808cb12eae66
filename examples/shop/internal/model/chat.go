package model

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
)

// ChatMessage is one line of the support chat. IDs grow like those of orders.
type ChatMessage struct {
	ID        int64     `json:"id"`
	Ref       string    `json:"ref,omitempty"`
	From      string    `json:"from"`
	Text      string    `json:"text"`
	CreatedAt time.Time `json:"created_at"`
}

// NewChatMessage is what a client sends. Ref is the client's own id of the
// line: a line sent again with the same ref is stored once, so a client that
// was cut off before it saw its line come back may simply send it again.
type NewChatMessage struct {
	Ref  string `json:"ref"`
	Text string `json:"text"`
}

// Validate reports the first rule that m breaks.
func (m NewChatMessage) Validate() error {
	switch {
	case strings.TrimSpace(m.Text) == "" || len(m.Text) > 4000 || !utf8.ValidString(m.Text):
		return apperr.New(apperr.Invalid, "text must have 1 to 4000 bytes of UTF-8")
	}
	return nil
}
