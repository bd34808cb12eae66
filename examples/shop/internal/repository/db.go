// Package repository keeps the shop's data in SQLite.
//
// Guarantees:
//
//  1. Several processes may have the same database open and write to it. A
//     writer that finds the database locked waits; the caller sees an error only
//     when its context ends or the lock is held for longer than LockWait.
//  2. A Write is one transaction, all or nothing, and survives kill -9 of the
//     process once it has returned nil.
//  3. Ids of orders, messages and outbox entries grow in the order of commit,
//     over all processes.
//
// Not promised: that the last writes survive a power cut (synchronous=NORMAL),
// and fairness between two processes that both write as fast as they can.
package repository

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
)

// LockWait is how long a statement waits for another process's lock. A write
// transaction holds the lock for well under a millisecond.
const LockWait = 15 * time.Second

// SQLite's own waiting backs off to steps of 100 ms, so a writer that is late
// becomes later: the 99th percentile of two busy processes was 70 ms. The writer
// therefore has SQLite wait only this long, which it does in steps of 1 and 2 ms,
// and begins again. It waits nowhere but in BEGIN IMMEDIATE, where nothing has
// been done that could be lost.
const writerPatience = 3 * time.Millisecond

//go:embed schema.sql
var schema string

const schemaVersion = 1

// DB is one process's access to the database: one connection that writes, a
// pool that reads. It is safe for concurrent use.
type DB struct {
	write *sql.DB
	read  *sql.DB
}

// Open opens the database at path and creates it if there is none. Two
// processes may call it for a new database at the same instant.
func Open(ctx context.Context, path string) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the database %s: %w", path, err)
	}
	db := &DB{}
	// One writer per process: writers of one process queue in database/sql, which
	// is fair and honours contexts; only processes compete for SQLite's lock, which
	// is polled. BEGIN IMMEDIATE takes that lock before the first read: a deferred
	// transaction that reads and then writes fails at once with
	// SQLITE_BUSY_SNAPSHOT, whatever busy_timeout says
	// (https://sqlite.org/isolation.html, https://sqlite.org/rescode.html#busy_snapshot).
	if db.write, err = sql.Open("sqlite", dsn(abs, writerPatience, "_txlock=immediate")); err != nil {
		return nil, fmt.Errorf("cannot open the database %s: %w", path, err)
	}
	db.write.SetMaxOpenConns(1)
	if db.read, err = sql.Open("sqlite", dsn(abs, LockWait, "_pragma=query_only(1)")); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open the database %s: %w", path, err), db.write.Close())
	}
	readers := 2 * max(2, runtime.GOMAXPROCS(0))
	db.read.SetMaxOpenConns(readers)
	db.read.SetMaxIdleConns(readers) // opening a connection costs more than a query

	if err := db.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot prepare the database %s: %w", path, err), db.Close())
	}
	return db, nil
}

func dsn(abs string, patience time.Duration, extra string) string {
	p := filepath.ToSlash(abs)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p // a drive letter
	}
	q := fmt.Sprintf("_pragma=busy_timeout(%d)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)&%s", patience.Milliseconds(), extra)
	return (&url.URL{Scheme: "file", Path: p, RawQuery: q}).String()
}

// prepare switches to WAL and creates the schema.
func (db *DB) prepare(ctx context.Context) error {
	// Changing the journal mode needs an exclusive lock and does not call the busy
	// handler, so two processes that create the database together collide here.
	// Once it is WAL the statement only reads.
	err := retryBusy(ctx, func() error {
		var mode string
		if err := db.write.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode); err != nil {
			return err
		}
		if mode != "wal" {
			return fmt.Errorf("journal mode is %q, not wal: put the database on a local disk", mode)
		}
		return nil
	})
	if err != nil {
		return err
	}
	version, err := db.schemaVersion(ctx, db.write)
	if err != nil || version >= schemaVersion {
		return err // a newer schema is one we can live with: see schema.sql
	}
	return db.Write(ctx, func(tx *Tx) error {
		version, err := db.schemaVersion(ctx, tx.tx)
		if err != nil || version >= schemaVersion {
			return err // another process was first
		}
		if _, err := tx.tx.ExecContext(ctx, schema); err != nil {
			return err
		}
		_, err = tx.tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version=%d", schemaVersion))
		return err
	})
}

func (db *DB) schemaVersion(ctx context.Context, q interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
},
) (v int, err error) {
	err = q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v)
	return v, err
}

// Ping reports whether the database can be read.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	if err := db.read.QueryRowContext(ctx, "SELECT 1 FROM sqlite_schema LIMIT 1").Scan(&one); err != nil {
		return fmt.Errorf("cannot read the database: %w", err)
	}
	return nil
}

// Close closes every connection. The last process to do so folds the
// write-ahead log into the database file.
func (db *DB) Close() error {
	return errors.Join(db.read.Close(), db.write.Close())
}

// Tx is a write transaction in progress.
type Tx struct {
	ctx context.Context
	tx  *sql.Tx
}

// Write runs f in one transaction and commits it if f returns nil. f runs at
// most once. No other write of any process happens while f runs, so f must not
// wait for anything but the database.
func (db *DB) Write(ctx context.Context, f func(*Tx) error) error {
	var tx *sql.Tx
	err := retryBusy(ctx, func() (err error) {
		tx, err = db.write.BeginTx(ctx, nil)
		return err
	})
	if err != nil {
		return busyIsUnavailable(err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing; before, the cause is returned
	if err := f(&Tx{ctx, tx}); err != nil {
		return busyIsUnavailable(err)
	}
	return busyIsUnavailable(tx.Commit())
}

// retryBusy repeats f, which must not have had an effect when it failed, while
// the database is locked, for at most LockWait.
func retryBusy(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(LockWait)
	for {
		err := f()
		if !isBusy(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// The low byte is the primary code: https://sqlite.org/rescode.html#pve
func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

func isUniqueViolation(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
}

func busyIsUnavailable(err error) error {
	if isBusy(err) {
		return apperr.Wrap(apperr.Unavailable, err, "the database is locked by another process")
	}
	return err
}

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
