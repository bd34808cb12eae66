package repository

import (
	"context"
	"database/sql"
	"errors"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
	"github.com/segue-go/segue/examples/shop/internal/model"
)

const orderColumns = "SELECT id, product_id, quantity, total_cents, request_id, created_ms FROM orders "

func scanOrder(scan func(...any) error, o *model.Order) error {
	var ms int64
	err := scan(&o.ID, &o.ProductID, &o.Quantity, &o.TotalCents, &o.RequestID, &ms)
	o.CreatedAt = fromMillis(ms)
	return err
}

// OrdersAfter lists at most limit orders with an id above after, in id order.
func (db *DB) OrdersAfter(ctx context.Context, after int64, limit int) ([]model.Order, error) {
	return list(ctx, db, func(r *sql.Rows, o *model.Order) error { return scanOrder(r.Scan, o) },
		orderColumns+"WHERE id > ? ORDER BY id LIMIT ?", after, limit)
}

// NewestOrder returns the highest id given out, 0 when there is none.
func (db *DB) NewestOrder(ctx context.Context) (int64, error) {
	return db.number(ctx, "SELECT coalesce(max(id), 0) FROM orders")
}

// Order returns one order, or NotFound.
func (db *DB) Order(ctx context.Context, id int64) (o model.Order, err error) {
	err = scanOrder(db.read.QueryRowContext(ctx, orderColumns+"WHERE id = ?", id).Scan, &o)
	if errors.Is(err, sql.ErrNoRows) {
		return o, apperr.New(apperr.NotFound, "there is no order %d", id)
	}
	return o, busyIsUnavailable(err)
}

// OrderTotals returns how many orders there are and what they add up to.
func (db *DB) OrderTotals(ctx context.Context) (count, cents int64, err error) {
	err = db.read.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(total_cents), 0) FROM orders").Scan(&count, &cents)
	return count, cents, busyIsUnavailable(err)
}

// AddOrder stores o and sets its id.
func (tx *Tx) AddOrder(o *model.Order) error {
	return tx.tx.QueryRowContext(tx.ctx,
		"INSERT INTO orders (product_id, quantity, total_cents, request_id, created_ms) VALUES (?, ?, ?, ?, ?) RETURNING id",
		o.ProductID, o.Quantity, o.TotalCents, o.RequestID, o.CreatedAt.UnixMilli()).Scan(&o.ID)
}
