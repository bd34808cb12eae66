package service

import (
	"context"
	"log/slog"
	"time"

	"github.com/segue-go/segue/examples/shop/internal/model"
	"github.com/segue-go/segue/examples/shop/internal/repository"
)

const (
	relayBatch = 100
	relayPoll  = 100 * time.Millisecond // entries written by another generation
)

// Relay delivers the outbox in order. It must run in one process at a time:
// two would both read an entry before either has marked it, and deliver it
// twice. That is what App.Solo is for, and why the relay does not defend itself.
//
// The delivery log is a table here, written in the transaction that marks the
// entry, so a crash cannot repeat a delivery. With a broker in its place a crash
// between the two can, and the receiver has to recognise the entry's id.
type Relay struct {
	db         *repository.DB
	log        *slog.Logger
	generation int
	pid        int
	nudge      chan struct{}
}

// NewRelay returns a relay that signs its deliveries with generation and pid.
func NewRelay(db *repository.DB, generation, pid int, log *slog.Logger) *Relay {
	return &Relay{db: db, log: log, generation: generation, pid: pid, nudge: make(chan struct{}, 1)}
}

// Nudge says that this process has queued an entry. It never blocks.
func (r *Relay) Nudge() {
	select {
	case r.nudge <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends. A delivery in progress is either finished or
// undone by then; nothing of it remains to be done by the next generation.
func (r *Relay) Run(ctx context.Context) error {
	r.log.InfoContext(ctx, "outbox relay started")
	delivered := 0
	defer func() { r.log.Info("outbox relay ended", "delivered", delivered) }()
	poll := time.NewTicker(relayPoll)
	defer poll.Stop()
	for {
		n, err := r.deliver(ctx)
		delivered += n
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			r.log.WarnContext(ctx, "outbox relay cannot deliver, trying again", "err", err)
		case n == relayBatch:
			continue // there is more
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.nudge:
		case <-poll.C:
		}
	}
}

// deliver reads a batch outside the transaction on purpose, as a relay to a
// broker would have to: see Relay.
func (r *Relay) deliver(ctx context.Context) (int, error) {
	batch, err := r.db.Pending(ctx, relayBatch)
	if err != nil || len(batch) == 0 {
		return 0, err
	}
	err = r.db.Write(ctx, func(tx *repository.Tx) error {
		for _, e := range batch {
			if err := tx.Deliver(e, r.generation, r.pid, time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(batch), nil
}

// Deliveries sums up what was delivered, by every generation.
func (r *Relay) Deliveries(ctx context.Context) (model.Deliveries, error) {
	return r.db.Deliveries(ctx)
}
