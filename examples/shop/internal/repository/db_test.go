package repository_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
	"github.com/segue-go/segue/examples/shop/internal/model"
	"github.com/segue-go/segue/examples/shop/internal/repository"
)

// writerEnv makes the test binary a second process that writes to the database
// of this name.
const writerEnv = "SHOP_TEST_WRITER"

const writes = 300 // per writer

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		if err := writeMany(path, os.Getpid()); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// writeMany opens the database and writes from four goroutines, each write with
// reads beside it. Any error is a failure: nobody may be told that it is busy.
func writeMany(path string, who int) error {
	ctx := context.Background()
	db, err := repository.Open(ctx, path)
	if err != nil {
		return err
	}
	const goroutines = 4
	errs := make([]error, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range writes / goroutines {
				errs[g] = errors.Join(place(ctx, db, fmt.Sprintf("%d-%d-%d", who, g, i)), read(ctx, db))
				if errs[g] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errors.Join(errs...), db.Close())
}

func place(ctx context.Context, db *repository.DB, id string) error {
	return db.Write(ctx, func(tx *repository.Tx) error {
		p, err := tx.Product(1) // a read first: what makes a deferred transaction fail
		if err != nil {
			return err
		}
		o := model.Order{ProductID: p.ID, Quantity: 1, TotalCents: p.PriceCents, RequestID: id, CreatedAt: time.Now()}
		if err := tx.AddOrder(&o); err != nil {
			return err
		}
		return errors.Join(tx.AddOutbox("order.placed", strconv.FormatInt(o.ID, 10)), tx.Apply(id))
	})
}

func read(ctx context.Context, db *repository.DB) error {
	newest, err := db.NewestOrder(ctx)
	if err != nil {
		return err
	}
	_, err = db.OrdersAfter(ctx, newest-10, 100)
	return err
}

func open(t *testing.T, path string) *repository.DB {
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

// Three processes create one database at the same instant and write to it as
// fast as they can.
func TestProcessesShareADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a dir with spaces & %", "shop.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	var children []*exec.Cmd
	var outputs []*strings.Builder
	for range 2 {
		c := exec.CommandContext(t.Context(), os.Args[0])
		c.Env = append(os.Environ(), writerEnv+"="+path)
		out := &strings.Builder{}
		c.Stdout, c.Stderr = out, out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		children, outputs = append(children, c), append(outputs, out)
	}
	if err := writeMany(path, 0); err != nil {
		t.Error(err)
	}
	for i, c := range children {
		if err := c.Wait(); err != nil {
			t.Errorf("process %d: %v: %s", i+1, err, outputs[i])
		}
	}
	db := open(t, path)
	orders, err := db.OrdersAfter(t.Context(), 0, 10*writes)
	if err != nil {
		t.Fatal(err)
	}
	if len(orders) != 3*writes {
		t.Errorf("%d orders, want %d", len(orders), 3*writes)
	}
	for i, o := range orders {
		if o.ID != int64(i+1) {
			t.Fatalf("order %d has id %d: ids have a gap", i+1, o.ID)
		}
	}
	ledger, err := db.Applied(t.Context(), "", "", 10*writes)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range ledger {
		if a.Count != 1 {
			t.Errorf("%s applied %d times", a.ID, a.Count)
		}
	}
	if len(ledger) != 3*writes {
		t.Errorf("%d ledger lines, want %d", len(ledger), 3*writes)
	}
}

// A database is opened and closed under another's writes: the last close folds
// the log, under an exclusive lock, and the next open must not mind.
func TestOpenAndCloseBesideAWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	open(t, path)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for g := range 2 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				db, err := repository.Open(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if err := place(t.Context(), db, fmt.Sprintf("g%d-%d", g, i)); err != nil {
					t.Error(err)
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if err := writeMany(path, 1); err != nil {
		t.Error(err)
	}
	stop()
	wg.Wait()
}

func TestWriteIsAllOrNothing(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "shop.db"))
	boom := errors.New("boom")
	err := db.Write(t.Context(), func(tx *repository.Tx) error {
		return errors.Join(tx.Apply("x"), tx.AddOutbox("k", "p"), boom)
	})
	if !errors.Is(err, boom) {
		t.Errorf("error %v, want boom", err)
	}
	if n, err := db.AppliedCount(t.Context(), "x"); n != 0 || err != nil {
		t.Errorf("applied %d times (%v) by a transaction that failed", n, err)
	}
	// The writer is free again.
	if err := db.Write(t.Context(), func(tx *repository.Tx) error { return tx.Apply("x") }); err != nil {
		t.Fatal(err)
	}
	if n, err := db.AppliedCount(t.Context(), "x"); n != 1 || err != nil {
		t.Errorf("applied %d times (%v), want 1", n, err)
	}
}

func TestWriteHonoursItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	holder, waiter := open(t, path), open(t, path)
	err := holder.Write(t.Context(), func(*repository.Tx) error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := waiter.Write(ctx, func(*repository.Tx) error { return nil })
		if err == nil {
			t.Error("two writers at once")
		}
		if took := time.Since(start); took > repository.LockWait/2 {
			t.Errorf("gave up after %v, long after its context (%v)", took, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLedgerPrefixAndPaging(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "shop.db"))
	err := db.Write(t.Context(), func(tx *repository.Tx) error {
		for _, id := range []string{"a-1", "a-2", "a-2", "a-3", "b-1", "", "A-1"} {
			if err := tx.Apply(id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"a-", "", 10, "[{a-1 1} {a-2 2} {a-3 1}]"},
		{"a-", "", 2, "[{a-1 1} {a-2 2}]"},
		{"a-", "a-2", 2, "[{a-3 1}]"},
		{"", "", 10, "[{A-1 1} {a-1 1} {a-2 2} {a-3 1} {b-1 1}]"},
		{"c", "", 10, "[]"},
	} {
		got, err := db.Applied(t.Context(), tc.prefix, tc.after, tc.limit)
		if err != nil || fmt.Sprint(got) != tc.want {
			t.Errorf("prefix %q after %q limit %d: %v %v, want %s", tc.prefix, tc.after, tc.limit, got, err, tc.want)
		}
	}
}

func TestConflictAndNotFound(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "shop.db"))
	kind := func(err error) apperr.Kind {
		var e *apperr.Error
		errors.As(err, &e)
		if e == nil {
			return 0
		}
		return e.Kind
	}
	n := model.NewProduct{SKU: "tea-oolong", Name: "again", PriceCents: 1}
	err := db.Write(t.Context(), func(tx *repository.Tx) error { _, err := tx.AddProduct(n); return err })
	if kind(err) != apperr.Conflict {
		t.Errorf("a SKU twice: %v, want a conflict", err)
	}
	if _, err := db.Order(t.Context(), 99); kind(err) != apperr.NotFound {
		t.Errorf("order 99: %v, want not found", err)
	}
	err = db.Write(t.Context(), func(tx *repository.Tx) error { _, err := tx.Product(99); return err })
	if kind(err) != apperr.NotFound {
		t.Errorf("product 99: %v, want not found", err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "shop.db")
	db, err := repository.Open(t.Context(), path)
	if err == nil {
		db.Close()
		t.Fatal("opened a database in a directory that does not exist")
	}
	if !strings.Contains(err.Error(), path) {
		t.Errorf("%q does not name %s", err, path)
	}
}
