package repository

import (
	"context"
	"database/sql"
	"time"

	"github.com/segue-go/segue/examples/shop/internal/model"
)

// Apply counts one more application of id. It belongs in the transaction of the
// effect, so that the count and the effect cannot disagree. An empty id is not
// counted.
func (tx *Tx) Apply(id string) error {
	if id == "" {
		return nil
	}
	_, err := tx.tx.ExecContext(tx.ctx,
		"INSERT INTO applied (id, count) VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET count = count + 1", id)
	return err
}

// AppliedCount returns how often id was applied, 0 if never.
func (db *DB) AppliedCount(ctx context.Context, id string) (int64, error) {
	return db.number(ctx, "SELECT coalesce((SELECT count FROM applied WHERE id = ?), 0)", id)
}

// Applied lists at most limit ledger lines whose id begins with prefix and
// sorts above after. Ids are ASCII, so prefix and the highest rune bound them.
func (db *DB) Applied(ctx context.Context, prefix, after string, limit int) ([]model.Applied, error) {
	return list(ctx, db, func(r *sql.Rows, a *model.Applied) error { return r.Scan(&a.ID, &a.Count) },
		"SELECT id, count FROM applied WHERE id >= ? AND id < ? AND id > ? ORDER BY id LIMIT ?",
		prefix, prefix+"\U0010FFFF", after, limit)
}

// AddUpload records a file that was received whole.
func (tx *Tx) AddUpload(u model.Upload, at time.Time) error {
	_, err := tx.tx.ExecContext(tx.ctx, "INSERT INTO uploads (sha256, bytes, created_ms) VALUES (?, ?, ?)",
		u.SHA256, u.Bytes, at.UnixMilli())
	return err
}
