package service

import (
	"context"
	"time"

	"github.com/segue-go/segue/examples/shop/internal/model"
	"github.com/segue-go/segue/examples/shop/internal/repository"
)

// Reports answers questions that take long.
type Reports struct{ db *repository.DB }

// NewReports returns reports over db.
func NewReports(db *repository.DB) *Reports { return &Reports{db} }

// Sales sums up the orders and takes at least d, standing in for a query that
// takes longer than a restart. It ends early when ctx does.
func (s *Reports) Sales(ctx context.Context, d time.Duration) (r model.Report, err error) {
	start := time.Now()
	done := time.NewTimer(d)
	defer done.Stop()
	select {
	case <-ctx.Done():
		return r, ctx.Err()
	case <-done.C:
	}
	if r.Orders, r.RevenueCents, err = s.db.OrderTotals(ctx); err != nil {
		return r, err
	}
	r.TookMS = time.Since(start).Milliseconds()
	return r, nil
}
