package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/segue-go/segue/client"
)

// sse is the kind of a stream of server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
const sse = "text/event-stream"

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
		out.w.Header().Set("Cache-Control", "no-store")
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

// send sends v as a line of JSON.
func (out *stream) send(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		out.err = err
		return
	}
	out.Write(append(data, '\n'))
}

// event sends e in the form of the stream. JSON has no line end that would end
// the data of a server-sent event.
func (out *stream) event(e client.Event) {
	if out.kind != sse {
		out.send(e)
		return
	}
	data, err := json.Marshal(e)
	if err != nil {
		out.err = err
		return
	}
	fmt.Fprintf(out, "event: %s\ndata: %s\n\n", e.Kind, data)
}

// retry says when to come back after a break.
func (out *stream) retry(after time.Duration) {
	fmt.Fprintf(out, "retry: %d\n\n", after.Milliseconds())
}

// comment sends what a reader of server-sent events passes over.
func (out *stream) comment() { fmt.Fprint(out, ":\n\n") }
