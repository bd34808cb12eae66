package service

import (
	"context"

	"github.com/segue-go/segue/examples/shop/internal/model"
	"github.com/segue-go/segue/examples/shop/internal/repository"
)

// Ledger tells which requests took effect, and how often. It is the shop's half
// of a proof: the client's half is the list of ids it sent and what it was told.
type Ledger struct{ db *repository.DB }

// NewLedger returns the ledger kept in db.
func NewLedger(db *repository.DB) *Ledger { return &Ledger{db} }

// Count returns how often the request id was applied.
func (s *Ledger) Count(ctx context.Context, id string) (model.Applied, error) {
	n, err := s.db.AppliedCount(ctx, id)
	return model.Applied{ID: id, Count: n}, err
}

// List returns at most limit lines whose id begins with prefix and sorts above after.
func (s *Ledger) List(ctx context.Context, prefix, after string, limit int) ([]model.Applied, error) {
	return s.db.Applied(ctx, prefix, after, limit)
}
