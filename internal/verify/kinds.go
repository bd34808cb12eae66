package verify

import (
	"fmt"
	"net/http"
	"time"
)

// The exchanges below are for services that have mounted Handler.

// Echo is a small request: seven of ten are GETs for a generated body, the
// others POST a KiB and want it back.
func Echo(r *Request) Exchange {
	if r.Rand.IntN(10) < 7 {
		n := 1 + r.Rand.IntN(2048)
		return Exchange{Path: fmt.Sprintf("/echo?n=%d", n), Check: wantBody(Pattern(r.ID, n))}
	}
	body := Pattern(r.ID, 1024)
	return Exchange{Method: http.MethodPost, Path: "/echo", Body: body, Check: wantBody(body)}
}

// SlowWork is a request that takes the service d.
func SlowWork(d time.Duration) func(*Request) Exchange {
	return func(r *Request) Exchange {
		return Exchange{Path: fmt.Sprintf("/slow?ms=%d", d.Milliseconds()), Check: wantBody(Pattern(r.ID, 64))}
	}
}

// UploadPieces sends a body of size bytes in pieces over the time given.
func UploadPieces(size, pieces int, over time.Duration) func(*Request) Exchange {
	return func(r *Request) Exchange {
		body := Pattern(r.ID, size)
		return Exchange{Method: http.MethodPost, Path: "/upload", Body: body,
			Pieces: pieces, PieceEvery: over / time.Duration(max(pieces-1, 1)),
			Check: wantBody([]byte(Sum(body)))}
	}
}

// ChunkedDownload fetches a body that the service writes in chunks over the
// time given, and reads it as slowly.
func ChunkedDownload(size, chunks int, over time.Duration) func(*Request) Exchange {
	every := over / time.Duration(max(chunks, 1))
	return func(r *Request) Exchange {
		return Exchange{
			Path:      fmt.Sprintf("/chunked?n=%d&chunks=%d&ms=%d", size, chunks, every.Milliseconds()),
			ReadPiece: max(size/max(chunks, 1), 1), ReadEvery: every,
			Check: wantBody(Pattern(r.ID, size)),
		}
	}
}

// The usual kinds. Their manner follows from workers and rate of the Load: a
// keep-alive connection is idle when its worker has little to send.

// KeepAlive uses one connection per worker.
func KeepAlive() HTTP1 { return HTTP1{Label: "keep-alive", Exchange: Echo} }

// Idle is KeepAlive under another name, to be given many workers and a low
// rate: its connections are used again after a pause.
func Idle() HTTP1 { return HTTP1{Label: "idle", Exchange: Echo} }

// OneShot uses a new connection for each request.
func OneShot() HTTP1 { return HTTP1{Label: "one-shot", Fresh: true, Exchange: Echo} }

// Slow is a request that should take longer than a restart.
func Slow(d time.Duration) HTTP1 { return HTTP1{Label: "slow", Exchange: SlowWork(d)} }

// Upload writes 256 KiB in 16 pieces over d.
func Upload(d time.Duration) HTTP1 {
	return HTTP1{Label: "upload", Exchange: UploadPieces(256<<10, 16, d)}
}

// Chunked reads 256 KiB in 16 chunks over about d.
func Chunked(d time.Duration) HTTP1 {
	return HTTP1{Label: "chunked", Exchange: ChunkedDownload(256<<10, 16, d)}
}
