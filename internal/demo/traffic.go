//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/segue-go/segue/internal/verify"
)

// traffic is what a shop sees: browsing and ordering over keep-alive
// connections, busy ones and idle ones, clients that come once, a report that
// takes longer than a switch, uploads and downloads that are under way, screens
// that follow the orders, and people who chat.
func (s *stage) traffic(ctx context.Context) (*verify.Run, error) {
	return verify.Start(ctx, verify.Options{
		Target: verify.Target{Addr: s.addr},
		Loads: []verify.Load{
			{Kind: verify.HTTP1{Label: "keep-alive", Exchange: s.shopping}, Workers: 8, Rate: 120},
			{Kind: verify.HTTP1{Label: "idle", Exchange: s.shopping}, Workers: 8, Rate: 8},
			{Kind: verify.HTTP1{Label: "one-shot", Fresh: true, Exchange: s.shopping}, Workers: 4, Rate: 40},
			{Kind: verify.HTTP1{Label: "report", Exchange: report}, Workers: 2},
			{Kind: verify.HTTP1{Label: "upload", Exchange: upload}, Workers: 2},
			{Kind: verify.HTTP1{Label: "download", Exchange: download}, Workers: 2},
			{Kind: verify.SSE{Path: func(int) string { return "/api/orders/stream" }, Event: "order"}, Workers: 4},
			{Kind: chat{}, Workers: 4},
		},
	})
}

// shopping looks around, and orders one time in three.
func (s *stage) shopping(r *verify.Request) verify.Exchange {
	if r.Rand.IntN(3) > 0 {
		r.Unrecorded()
		return verify.Exchange{Path: "/api/products", Check: validJSON}
	}
	return verify.Exchange{
		Method: http.MethodPost, Path: "/api/orders",
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   fmt.Appendf(nil, `{"product_id":%d,"quantity":%d}`, s.product, 1+r.Rand.IntN(3)),
		Status: http.StatusCreated, Check: validJSON,
	}
}

// report takes its time: longer than any switch between two versions.
func report(r *verify.Request) verify.Exchange {
	r.Unrecorded()
	return verify.Exchange{Path: "/api/report?ms=1500", Check: validJSON}
}

func upload(r *verify.Request) verify.Exchange {
	body := verify.Pattern(r.ID, 256<<10)
	return verify.Exchange{
		Method: http.MethodPost, Path: "/api/upload", Body: body,
		Pieces: 16, PieceEvery: 75 * time.Millisecond,
		Status: http.StatusCreated,
		Check: func(a verify.Answer) error {
			var got struct {
				Bytes int `json:"bytes"`
			}
			if err := json.Unmarshal(a.Body, &got); err != nil || got.Bytes != len(body) {
				return fmt.Errorf("%d bytes were uploaded, the answer is %s", len(body), a.Body)
			}
			return nil
		},
	}
}

// download reads the order book, slowly. That it is complete is said by the
// chunked encoding, which net/http ends only when the handler has returned.
func download(r *verify.Request) verify.Exchange {
	r.Unrecorded()
	return verify.Exchange{
		Path: "/api/export?pause=100", ReadPiece: 16 << 10, ReadEvery: 20 * time.Millisecond,
		Check: func(a verify.Answer) error {
			if !bytes.HasSuffix(a.Body, []byte("\n")) {
				return fmt.Errorf("the last line of %d bytes is not complete", len(a.Body))
			}
			return nil
		},
	}
}

func validJSON(a verify.Answer) error {
	if !json.Valid(a.Body) {
		return fmt.Errorf("the answer is not JSON: %.100q", a.Body)
	}
	return nil
}
