package service

import (
	"context"
	"log/slog"
	"time"

	"github.com/segue-go/segue/examples/shop/internal/model"
	"github.com/segue-go/segue/examples/shop/internal/repository"
	"github.com/segue-go/segue/examples/shop/internal/reqid"
)

// Chat is the support chat. Its lines live in the database, so people talking
// to two generations of the service hear each other.
type Chat struct {
	db   *repository.DB
	feed *Feed[model.ChatMessage]
}

// NewChat returns the chat kept in db.
func NewChat(db *repository.DB, log *slog.Logger) *Chat {
	return &Chat{db: db, feed: NewFeed(Source[model.ChatMessage]{
		After:  db.MessagesAfter,
		Newest: db.NewestMessage,
		ID:     func(m model.ChatMessage) int64 { return m.ID },
	}, log)}
}

// Follow keeps the chat fresh until ctx ends.
func (s *Chat) Follow(ctx context.Context) error { return s.feed.Run(ctx) }

// Next is Feed.Next over the messages.
func (s *Chat) Next(ctx context.Context, after int64) ([]model.ChatMessage, <-chan struct{}, error) {
	return s.feed.Next(ctx, after)
}

// After returns the next messages with an id above after, read from the database
// and so up to date even where the feed is not yet.
func (s *Chat) After(ctx context.Context, after int64) ([]model.ChatMessage, error) {
	return s.db.MessagesAfter(ctx, after, feedPage)
}

// Newest returns the id of the newest message.
func (s *Chat) Newest(ctx context.Context) (int64, error) { return s.db.NewestMessage(ctx) }

// Say stores a line once, however often it is sent, and enters its ref in the
// ledger. It returns the id the line has.
func (s *Chat) Say(ctx context.Context, from string, n model.NewChatMessage) (int64, error) {
	if err := n.Validate(); err != nil {
		return 0, err
	}
	if n.Ref != "" {
		if err := reqid.Check(n.Ref); err != nil {
			return 0, err
		}
	}
	m := model.ChatMessage{Ref: n.Ref, From: from, Text: n.Text, CreatedAt: time.Now()}
	err := s.db.Write(ctx, func(tx *repository.Tx) error {
		added, err := tx.AddMessage(&m)
		if err != nil || !added {
			return err
		}
		return tx.Apply(m.Ref)
	})
	if err != nil {
		return 0, err
	}
	s.feed.Nudge()
	return m.ID, nil
}
