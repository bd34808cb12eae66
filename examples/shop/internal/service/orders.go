package service

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/segue-go/segue/examples/shop/internal/model"
	"github.com/segue-go/segue/examples/shop/internal/repository"
	"github.com/segue-go/segue/examples/shop/internal/reqid"
)

// Orders takes orders and lets readers follow them.
type Orders struct {
	db    *repository.DB
	feed  *Feed[model.Order]
	relay *Relay
}

// NewOrders returns the orders kept in db. relay, if not nil, is told of each.
func NewOrders(db *repository.DB, relay *Relay, log *slog.Logger) *Orders {
	return &Orders{db: db, relay: relay, feed: NewFeed(Source[model.Order]{
		After:  db.OrdersAfter,
		Newest: db.NewestOrder,
		ID:     func(o model.Order) int64 { return o.ID },
	}, log)}
}

// Follow keeps the stream of orders fresh until ctx ends.
func (s *Orders) Follow(ctx context.Context) error { return s.feed.Run(ctx) }

// Next is Feed.Next over the orders.
func (s *Orders) Next(ctx context.Context, after int64) ([]model.Order, <-chan struct{}, error) {
	return s.feed.Next(ctx, after)
}

// Newest returns the id of the newest order.
func (s *Orders) Newest(ctx context.Context) (int64, error) { return s.db.NewestOrder(ctx) }

// List returns at most limit orders with an id above after.
func (s *Orders) List(ctx context.Context, after int64, limit int) ([]model.Order, error) {
	return s.db.OrdersAfter(ctx, after, limit)
}

// Get returns one order.
func (s *Orders) Get(ctx context.Context, id int64) (model.Order, error) { return s.db.Order(ctx, id) }

// Place stores an order, the event that announces it and the line of the
// ledger, all in one transaction.
func (s *Orders) Place(ctx context.Context, n model.NewOrder) (o model.Order, err error) {
	if err := n.Validate(); err != nil {
		return o, err
	}
	err = s.db.Write(ctx, func(tx *repository.Tx) error {
		p, err := tx.Product(n.ProductID)
		if err != nil {
			return err
		}
		o = model.Order{
			ProductID:  p.ID,
			Quantity:   n.Quantity,
			TotalCents: p.PriceCents * n.Quantity,
			RequestID:  reqid.ForLedger(ctx),
			CreatedAt:  time.Now().UTC().Truncate(time.Millisecond), // what the database keeps
		}
		if err := tx.AddOrder(&o); err != nil {
			return err
		}
		event, err := json.Marshal(o)
		if err != nil {
			return err
		}
		if err := tx.AddOutbox("order.placed", string(event)); err != nil {
			return err
		}
		return tx.Apply(o.RequestID)
	})
	if err != nil {
		return model.Order{}, err
	}
	s.feed.Nudge()
	if s.relay != nil {
		s.relay.Nudge()
	}
	return o, nil
}
