package repository

import (
	"context"
	"database/sql"
	"errors"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
	"github.com/segue-go/segue/examples/shop/internal/model"
)

// Products lists the catalogue, at most limit products with an id above after.
func (db *DB) Products(ctx context.Context, after int64, limit int) ([]model.Product, error) {
	return list(ctx, db, func(r *sql.Rows, p *model.Product) error {
		return r.Scan(&p.ID, &p.SKU, &p.Name, &p.PriceCents)
	}, "SELECT id, sku, name, price_cents FROM products WHERE id > ? ORDER BY id LIMIT ?", after, limit)
}

// Product returns one product, or NotFound.
func (tx *Tx) Product(id int64) (p model.Product, err error) {
	err = tx.tx.QueryRowContext(tx.ctx, "SELECT id, sku, name, price_cents FROM products WHERE id = ?", id).
		Scan(&p.ID, &p.SKU, &p.Name, &p.PriceCents)
	if errors.Is(err, sql.ErrNoRows) {
		err = apperr.New(apperr.NotFound, "there is no product %d", id)
	}
	return p, err
}

// AddProduct stores n and returns it with its id; a SKU in use is a Conflict.
func (tx *Tx) AddProduct(n model.NewProduct) (model.Product, error) {
	p := model.Product{SKU: n.SKU, Name: n.Name, PriceCents: n.PriceCents}
	err := tx.tx.QueryRowContext(tx.ctx, "INSERT INTO products (sku, name, price_cents) VALUES (?, ?, ?) RETURNING id",
		p.SKU, p.Name, p.PriceCents).Scan(&p.ID)
	if isUniqueViolation(err) {
		err = apperr.Wrap(apperr.Conflict, err, "sku %q is in use by another product", n.SKU)
	}
	return p, err
}
