// Package reqid carries the id of a request through a context.
//
// An id comes from the client (header X-Request-Id) or is made up here. Only an
// id the client supplied means something to the client, so only such an id is
// written to the ledger; either kind appears in the logs and in the answer.
package reqid

import (
	"context"
	"crypto/rand"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
)

// Header is read from requests and set on answers.
const Header = "X-Request-Id"

// MaxLen bounds an id supplied by a client.
const MaxLen = 128

type key struct{}

type id struct {
	value    string
	supplied bool
}

// Supplied returns ctx carrying an id that the client sent.
func Supplied(ctx context.Context, value string) context.Context {
	return context.WithValue(ctx, key{}, id{value, true})
}

// Generated returns ctx carrying a fresh id, and the id.
func Generated(ctx context.Context) (context.Context, string) {
	value := rand.Text()
	return context.WithValue(ctx, key{}, id{value, false}), value
}

// From returns the id for logs, "" when there is none.
func From(ctx context.Context) string {
	v, _ := ctx.Value(key{}).(id)
	return v.value
}

// ForLedger returns the id only if the client supplied it, else "".
func ForLedger(ctx context.Context) string {
	if v, _ := ctx.Value(key{}).(id); v.supplied {
		return v.value
	}
	return ""
}

// Check refuses an id that could not be looked up again under /api/ledger/:id
// or that would disturb a log line.
func Check(value string) error {
	if value == "" || len(value) > MaxLen {
		return apperr.New(apperr.Invalid, "%s must have 1 to %d characters, not %d", Header, MaxLen, len(value))
	}
	for _, c := range []byte(value) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':':
		default:
			return apperr.New(apperr.Invalid, "%s may hold letters, digits and - _ . : only, not %q", Header, c)
		}
	}
	return nil
}
