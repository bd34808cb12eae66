package repository

import (
	"context"
	"database/sql"

	"github.com/segue-go/segue/examples/shop/internal/model"
)

// MessagesAfter lists at most limit chat messages with an id above after.
func (db *DB) MessagesAfter(ctx context.Context, after int64, limit int) ([]model.ChatMessage, error) {
	return list(ctx, db, func(r *sql.Rows, m *model.ChatMessage) error {
		var ms int64
		err := r.Scan(&m.ID, &m.Ref, &m.From, &m.Text, &ms)
		m.CreatedAt = fromMillis(ms)
		return err
	}, "SELECT id, coalesce(ref, ''), sender, body, created_ms FROM messages WHERE id > ? ORDER BY id LIMIT ?", after, limit)
}

// NewestMessage returns the highest id given out, 0 when there is none.
func (db *DB) NewestMessage(ctx context.Context) (int64, error) {
	return db.number(ctx, "SELECT coalesce(max(id), 0) FROM messages")
}

// AddMessage stores m and sets its id. If a message with m's ref is stored
// already nothing is written: m gets that one's id and added is false.
func (tx *Tx) AddMessage(m *model.ChatMessage) (added bool, err error) {
	if m.Ref != "" {
		switch err := tx.tx.QueryRowContext(tx.ctx, "SELECT id FROM messages WHERE ref = ?", m.Ref).Scan(&m.ID); err {
		case nil:
			return false, nil
		case sql.ErrNoRows:
		default:
			return false, err
		}
	}
	ref := sql.NullString{String: m.Ref, Valid: m.Ref != ""}
	err = tx.tx.QueryRowContext(tx.ctx, "INSERT INTO messages (ref, sender, body, created_ms) VALUES (?, ?, ?, ?) RETURNING id",
		ref, m.From, m.Text, m.CreatedAt.UnixMilli()).Scan(&m.ID)
	return err == nil, err
}
