package service

import (
	"context"

	"github.com/segue-go/segue/examples/shop/internal/model"
	"github.com/segue-go/segue/examples/shop/internal/repository"
	"github.com/segue-go/segue/examples/shop/internal/reqid"
)

// Catalog is what can be bought.
type Catalog struct{ db *repository.DB }

// NewCatalog returns the catalogue kept in db.
func NewCatalog(db *repository.DB) *Catalog { return &Catalog{db} }

// List returns at most limit products with an id above after.
func (s *Catalog) List(ctx context.Context, after int64, limit int) ([]model.Product, error) {
	return s.db.Products(ctx, after, limit)
}

// Create adds a product.
func (s *Catalog) Create(ctx context.Context, n model.NewProduct) (p model.Product, err error) {
	if err := n.Validate(); err != nil {
		return p, err
	}
	err = s.db.Write(ctx, func(tx *repository.Tx) (err error) {
		if p, err = tx.AddProduct(n); err != nil {
			return err
		}
		return tx.Apply(reqid.ForLedger(ctx))
	})
	return p, err
}
