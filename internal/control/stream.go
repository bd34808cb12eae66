package control

import (
	"encoding/json"
	"net/http"
	"time"
)

// stream is an answer that comes in pieces, each sent at once. When a piece
// could not be sent the client is given up, and later ones go nowhere. It is
// used from one goroutine.
type stream struct {
	w     http.ResponseWriter
	kind  string // Content-Type
	begun bool
	err   error
}

func newStream(w http.ResponseWriter, kind string) *stream { return &stream{w: w, kind: kind} }

// Write sends p. The error is final.
func (out *stream) Write(p []byte) (int, error) {
	if out.err != nil {
		return 0, out.err
	}
	if !out.begun {
		out.begun = true
		out.w.Header().Set("Content-Type", out.kind)
		out.w.WriteHeader(http.StatusOK)
	}
	rc := http.NewResponseController(out.w)
	rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	var n int
	n, out.err = out.w.Write(p)
	if out.err == nil {
		out.err = rc.Flush()
	}
	return n, out.err
}

// send sends v as a line of JSON, and says whether anybody is there still.
func (out *stream) send(v any) bool {
	if out.err != nil {
		return false
	}
	data, err := json.Marshal(v)
	if err != nil {
		out.err = err
		return false
	}
	out.Write(append(data, '\n'))
	return out.err == nil
}
