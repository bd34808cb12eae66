package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// IDHeader carries a request's id there and back.
const IDHeader = "X-Request-Id"

// Exchange is one HTTP request and what its answer must be. HTTP1 and HTTP2
// can carry any exchange.
type Exchange struct {
	Method string // empty means GET
	Path   string // with the query
	Header http.Header
	Body   []byte

	// Pieces above 1 divides the body; PieceEvery passes between two of them.
	Pieces     int
	PieceEvery time.Duration
	// ReadPiece above 0 reads the answer's body in pieces of that size, with
	// ReadEvery between two of them.
	ReadPiece int
	ReadEvery time.Duration

	// Status is the one that is right; 0 means 200.
	Status int
	// Check judges the complete answer further; nil accepts any body.
	Check func(Answer) error
}

// Answer is a complete answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func (x Exchange) method() string {
	if x.Method == "" {
		return http.MethodGet
	}
	return x.Method
}

// judge returns nil when a is the right answer to r.
func (x Exchange) judge(r *Request, a Answer) error {
	want := x.Status
	if want == 0 {
		want = http.StatusOK
	}
	switch {
	case a.Status != want && a.Status >= 500:
		return lossf(Server, "status %d", a.Status)
	case a.Status != want:
		return lossf(Status, "status %d, want %d", a.Status, want)
	case a.Header.Get(IDHeader) != r.ID:
		return lossf(Wrong, "the answer is for id %q", a.Header.Get(IDHeader))
	case x.Check == nil:
		return nil
	}
	if err := x.Check(a); err != nil {
		return &Loss{Cause: Wrong, Err: err}
	}
	return nil
}

// pieces calls send with each piece of the body in turn, at the pace asked for.
func (x Exchange) pieces(ctx context.Context, send func(piece []byte, last bool) error) error {
	rest, n := x.Body, max(x.Pieces, 1)
	size := max((len(rest)+n-1)/n, 1)
	for {
		piece := rest[:min(size, len(rest))]
		rest = rest[len(piece):]
		if err := send(piece, len(rest) == 0); err != nil || len(rest) == 0 {
			return err
		}
		if err := wait(ctx, x.PieceEvery); err != nil {
			return err
		}
	}
}

// readBody reads body to its end, at the pace asked for.
func (x Exchange) readBody(ctx context.Context, body io.Reader) ([]byte, error) {
	if x.ReadPiece <= 0 {
		return io.ReadAll(body)
	}
	var got bytes.Buffer
	for {
		_, err := io.CopyN(&got, body, int64(x.ReadPiece))
		if err == io.EOF {
			return got.Bytes(), nil
		}
		if err == nil {
			err = wait(ctx, x.ReadEvery)
		}
		if err != nil {
			return got.Bytes(), err
		}
	}
}

// Pattern is the body that belongs to an id: n bytes that both sides can work
// out, so that a mixed-up or shortened body cannot pass.
func Pattern(id string, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256([]byte(id))).Read(b)
	return b
}

// Sum is the text by which a service tells what it has received.
func Sum(body []byte) string {
	return fmt.Sprintf("%d %08x\n", len(body), crc32.ChecksumIEEE(body))
}

func wantBody(want []byte) func(Answer) error {
	return func(a Answer) error {
		if !bytes.Equal(a.Body, want) {
			return fmt.Errorf("the body has %d bytes (sum %q), want %d (sum %q)",
				len(a.Body), Sum(a.Body), len(want), Sum(want))
		}
		return nil
	}
}

// wait lets d pass, or returns the context's error. The pauses of a slow client
// are part of the traffic.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
