package model

import (
	"time"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
)

// Order is one product bought. IDs grow in the order of commit, over all
// generations of the service: a reader that has seen id n and asks for "after
// n" misses nothing.
type Order struct {
	ID         int64     `json:"id"`
	ProductID  int64     `json:"product_id"`
	Quantity   int64     `json:"quantity"`
	TotalCents int64     `json:"total_cents"`
	RequestID  string    `json:"request_id,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
}

// NewOrder is what a client sends to place one.
type NewOrder struct {
	ProductID int64 `json:"product_id"`
	Quantity  int64 `json:"quantity"`
}

// MaxQuantity of one order.
const MaxQuantity = 1000

// Validate reports the first rule that o breaks.
func (o NewOrder) Validate() error {
	switch {
	case o.ProductID <= 0:
		return apperr.New(apperr.Invalid, "product_id must be the id of a product")
	case o.Quantity < 1 || o.Quantity > MaxQuantity:
		return apperr.New(apperr.Invalid, "quantity must be between 1 and %d", MaxQuantity)
	}
	return nil
}
