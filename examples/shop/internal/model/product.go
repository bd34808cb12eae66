// Package model holds what the shop talks about: plain values and the rules
// that concern one value alone. It knows neither HTTP nor SQL.
package model

import (
	"strings"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
)

// Product can be ordered.
type Product struct {
	ID         int64  `json:"id"`
	SKU        string `json:"sku"`
	Name       string `json:"name"`
	PriceCents int64  `json:"price_cents"`
}

// NewProduct is what a client sends to create one.
type NewProduct struct {
	SKU        string `json:"sku"`
	Name       string `json:"name"`
	PriceCents int64  `json:"price_cents"`
}

// MaxPriceCents times MaxQuantity fits an int64 with room to spare.
const MaxPriceCents = 1_000_000_00

// Validate reports the first rule that p breaks.
func (p NewProduct) Validate() error {
	switch {
	case p.SKU == "" || len(p.SKU) > 64 || strings.ContainsAny(p.SKU, " \t\r\n"):
		return apperr.New(apperr.Invalid, "sku must have 1 to 64 characters and no space")
	case strings.TrimSpace(p.Name) == "" || len(p.Name) > 200:
		return apperr.New(apperr.Invalid, "name must have 1 to 200 characters")
	case p.PriceCents < 0 || p.PriceCents > MaxPriceCents:
		return apperr.New(apperr.Invalid, "price_cents must be between 0 and %d", MaxPriceCents)
	}
	return nil
}
