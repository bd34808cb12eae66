package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/segue-go/segue/examples/shop/internal/model"
	"github.com/segue-go/segue/examples/shop/internal/repository"
	"github.com/segue-go/segue/examples/shop/internal/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func openDB(t *testing.T, path string) *repository.DB {
	t.Helper()
	db, err := repository.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// sequence is a Source in memory: 1, 2, 3 … up to newest.
type sequence struct {
	newest atomic.Int64
	reads  atomic.Int64
	broken atomic.Bool
}

func (s *sequence) source() service.Source[int64] {
	return service.Source[int64]{
		ID: func(v int64) int64 { return v },
		Newest: func(context.Context) (int64, error) {
			if s.broken.Load() {
				return 0, errors.New("broken")
			}
			return s.newest.Load(), nil
		},
		After: func(_ context.Context, after int64, limit int) (out []int64, err error) {
			s.reads.Add(1)
			if s.broken.Load() {
				return nil, errors.New("broken")
			}
			for v := after + 1; v <= s.newest.Load() && len(out) < limit; v++ {
				out = append(out, v)
			}
			return out, nil
		},
	}
}

// readTo follows a feed and fails on a gap or a repetition.
func readTo(ctx context.Context, f *service.Feed[int64], after, last int64) error {
	for after < last {
		items, changed, err := f.Next(ctx, after)
		if err != nil {
			return err
		}
		for _, v := range items {
			if v != after+1 {
				return fmt.Errorf("%d follows %d", v, after)
			}
			after = v
		}
		if len(items) == 0 {
			select {
			case <-ctx.Done():
				return fmt.Errorf("stuck after %d", after)
			case <-changed:
			}
		}
	}
	return nil
}

func TestFeedMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		seq.newest.Store(5000) // long before the window
		f := service.NewFeed(seq.source(), quiet)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		const last = 20_000
		var readers, feed sync.WaitGroup
		for _, from := range []int64{0, 4000, 5000, 0, 4999} {
			readers.Go(func() {
				if err := readTo(ctx, f, from, last); err != nil {
					t.Errorf("reader from %d: %v", from, err)
				}
			})
		}
		feeding, stop := context.WithCancel(ctx)
		feed.Go(func() { f.Run(feeding) })
		for v := int64(5000); v < last; {
			v = min(last, v+v%997+1) // bursts above and below the window
			seq.newest.Store(v)
			if v%2 == 0 {
				f.Nudge()
			}
			time.Sleep(time.Millisecond) // virtual time
		}
		readers.Wait()
		stop()
		feed.Wait()
	})
}

func TestFeedAsksOnceForManyReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		f := service.NewFeed(seq.source(), quiet)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { f.Run(ctx) })
		synctest.Wait()
		before := seq.reads.Load()
		for range 200 {
			wg.Go(func() {
				if err := readTo(ctx, f, 0, 10); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		seq.newest.Store(10)
		f.Nudge()
		time.Sleep(feedSettles)
		if reads := seq.reads.Load() - before; reads > 12 {
			t.Errorf("%d reads for 200 readers in %v", reads, feedSettles)
		}
		cancel()
		wg.Wait()
	})
}

const feedSettles = time.Second // ten polls

func TestFeedSurvivesABrokenDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		seq.broken.Store(true)
		f := service.NewFeed(seq.source(), quiet)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { f.Run(ctx) })
		time.Sleep(time.Second)
		seq.broken.Store(false)
		time.Sleep(time.Second)
		seq.broken.Store(true)
		time.Sleep(time.Second)
		seq.newest.Store(3)
		seq.broken.Store(false)
		if err := readTo(ctx, f, 0, 3); err != nil {
			t.Error(err)
		}
		cancel()
		wg.Wait()
		// Nobody feeds any more: the database answers.
		seq.newest.Store(5)
		if items, _, err := f.Next(t.Context(), 3); err != nil || len(items) != 2 {
			t.Errorf("%v %v, want 4 and 5", items, err)
		}
	})
}

func placeOrders(t *testing.T, orders *service.Orders, n int) {
	t.Helper()
	for range n {
		if _, err := orders.Place(t.Context(), model.NewOrder{ProductID: 1, Quantity: 2}); err != nil {
			t.Fatal(err)
		}
	}
}

// Two generations of the shop, one relay after the other, and orders in both
// all the time.
func TestRelayOneGenerationAfterTheOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	const each = 150
	var placing sync.WaitGroup
	relays := make([]*service.Relay, 2)
	for i := range relays {
		db := openDB(t, path)
		relays[i] = service.NewRelay(db, i+1, 1000+i, quiet)
		orders := service.NewOrders(db, relays[i], quiet)
		placing.Go(func() { placeOrders(t, orders, each) })
	}
	for _, r := range relays {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		mine := func() bool {
			d, err := r.Deliveries(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return d.Delivered > 0 && (r != relays[1] || d.Delivered == 2*each)
		}
		waitFor(t, mine)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	placing.Wait()
	d, err := relays[0].Deliveries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d.Delivered != 2*each || d.Pending != 0 || len(d.Twice) != 0 || d.OutOfOrder != 0 {
		t.Errorf("%+v, want %d delivered once and in order", d, 2*each)
	}
}

// The delivery log has to be able to show what Solo is there to prevent, or it
// proves nothing.
func TestDeliveryLogShowsASecondDelivery(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "shop.db"))
	relay := service.NewRelay(db, 1, 1, quiet)
	placeOrders(t, service.NewOrders(db, relay, quiet), 3)
	batch, err := db.Pending(t.Context(), 10) // as two relays at once both read it
	if err != nil {
		t.Fatal(err)
	}
	for generation := 1; generation <= 2; generation++ {
		err := db.Write(t.Context(), func(tx *repository.Tx) error {
			return tx.Deliver(batch[1], generation, generation, time.Now())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err = db.Write(t.Context(), func(tx *repository.Tx) error { return tx.Deliver(batch[0], 2, 2, time.Now()) })
	if err != nil {
		t.Fatal(err)
	}
	d, err := relay.Deliveries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%+v", d), "{Pending:1 Delivered:3 Twice:[2] OutOfOrder:1 ByGeneration:map[1:1 2:2]}"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestChatStoresARefOnce(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "shop.db"))
	chat := service.NewChat(db, quiet)
	var ids []int64
	for _, ref := range []string{"r1", "r1", "", "", "r2"} {
		id, err := chat.Say(t.Context(), "ann", model.NewChatMessage{Ref: ref, Text: "hello"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if fmt.Sprint(ids) != "[1 1 2 3 4]" {
		t.Errorf("ids %v, want [1 1 2 3 4]", ids)
	}
	if n, err := db.AppliedCount(t.Context(), "r1"); n != 1 || err != nil {
		t.Errorf("r1 applied %d times (%v)", n, err)
	}
}

// waitFor polls what no channel tells, up to a bound that only a hang reaches.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("waited for 30 s")
		}
	}
}
