package repository

import (
	"context"
	"database/sql"
	"time"

	"github.com/segue-go/segue/examples/shop/internal/model"
)

// AddOutbox queues an event for delivery.
func (tx *Tx) AddOutbox(kind, payload string) error {
	_, err := tx.tx.ExecContext(tx.ctx, "INSERT INTO outbox (kind, payload) VALUES (?, ?)", kind, payload)
	return err
}

// Pending lists at most limit undelivered entries, oldest first.
func (db *DB) Pending(ctx context.Context, limit int) ([]model.OutboxEntry, error) {
	return list(ctx, db, func(r *sql.Rows, e *model.OutboxEntry) error { return r.Scan(&e.ID, &e.Kind, &e.Payload) },
		"SELECT id, kind, payload FROM outbox WHERE delivered_ms IS NULL ORDER BY id LIMIT ?", limit)
}

// Deliver writes a line of the delivery log for e and marks e delivered. It does
// not look whether e was delivered before: keeping two relays apart is not the
// database's job here, and the log must show it when they were not.
func (tx *Tx) Deliver(e model.OutboxEntry, generation, pid int, at time.Time) error {
	if _, err := tx.tx.ExecContext(tx.ctx,
		"INSERT INTO deliveries (outbox_id, generation, pid, delivered_ms) VALUES (?, ?, ?, ?)",
		e.ID, generation, pid, at.UnixMilli()); err != nil {
		return err
	}
	_, err := tx.tx.ExecContext(tx.ctx, "UPDATE outbox SET delivered_ms = ? WHERE id = ?", at.UnixMilli(), e.ID)
	return err
}

// Deliveries sums up the delivery log.
func (db *DB) Deliveries(ctx context.Context) (d model.Deliveries, err error) {
	if d.Pending, err = db.number(ctx, "SELECT count(*) FROM outbox WHERE delivered_ms IS NULL"); err != nil {
		return d, err
	}
	if d.Delivered, err = db.number(ctx, "SELECT count(*) FROM deliveries"); err != nil {
		return d, err
	}
	if d.OutOfOrder, err = db.number(ctx,
		"SELECT count(*) FROM (SELECT outbox_id < lag(outbox_id) OVER (ORDER BY seq) AS back FROM deliveries) WHERE back"); err != nil {
		return d, err
	}
	d.Twice, err = list(ctx, db, func(r *sql.Rows, id *int64) error { return r.Scan(id) },
		"SELECT outbox_id FROM deliveries GROUP BY outbox_id HAVING count(*) > 1 ORDER BY outbox_id LIMIT 100")
	if err != nil {
		return d, err
	}
	type share struct{ generation, count int64 }
	shares, err := list(ctx, db, func(r *sql.Rows, s *share) error { return r.Scan(&s.generation, &s.count) },
		"SELECT generation, count(*) FROM deliveries GROUP BY generation")
	d.ByGeneration = make(map[int64]int64, len(shares))
	for _, s := range shares {
		d.ByGeneration[s.generation] = s.count
	}
	return d, err
}
