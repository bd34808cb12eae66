package repository

import (
	"context"
	"database/sql"
)

// list runs a query on the reading pool and scans every row.
func list[T any](ctx context.Context, db *DB, scan func(*sql.Rows, *T) error, query string, args ...any) ([]T, error) {
	rows, err := db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, busyIsUnavailable(err)
	}
	defer rows.Close()
	out := []T{} // an empty list is [] in JSON, not null
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, busyIsUnavailable(rows.Err())
}

// number runs a query that yields one integer.
func (db *DB) number(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = db.read.QueryRowContext(ctx, query, args...).Scan(&n)
	return n, busyIsUnavailable(err)
}
