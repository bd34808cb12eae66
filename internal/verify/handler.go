package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Bounds of what a request may ask of Handler.
const (
	maxBody  = 16 << 20
	maxPause = 10 * time.Minute
)

// Handler is a service to be verified. Every request but /pid and /sse carries
// an id, is recorded in the ledger once its work is done and before the first
// byte of the answer, and has its id echoed.
//
//	GET  /pid                          who answers, as JSON of Who
//	GET  /echo?n=BYTES                 Pattern(id, n)
//	POST /echo                         the body
//	GET  /slow?ms=T                    Pattern(id, 64), after T
//	POST /upload                       Sum of the body
//	GET  /chunked?n=BYTES&chunks=N&ms=T  Pattern(id, n) in N chunks, T apart
//	GET  /sse?stream=NAME&ms=T         events 1, 2, ... or from Last-Event-ID on, T apart
//
// The zero value works and records nothing.
type Handler struct {
	// Applied is the service's ledger.
	Applied *Applied
	// Generation and Version are told by /pid.
	Generation, Version string
	// Leaving, if set, returns a channel that is closed when the service is
	// about to leave: SSE streams then end in an orderly way.
	Leaving func(context.Context) <-chan struct{}
}

// Who is what /pid answers.
type Who struct {
	PID        int    `json:"pid"`
	Generation string `json:"generation"`
	Version    string `json:"version"`
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve, ok := map[string]func(http.ResponseWriter, *http.Request){
		"GET /pid": h.pid, "GET /sse": h.sse,
		"GET /echo": h.get, "POST /echo": h.post, "GET /slow": h.slow,
		"POST /upload": h.upload, "GET /chunked": h.chunked,
	}[r.Method+" "+r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set(IDHeader, r.Header.Get(IDHeader))
	serve(w, r)
}

func (h *Handler) pid(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(Who{os.Getpid(), h.Generation, h.Version})
}

func (h *Handler) get(w http.ResponseWriter, r *http.Request) {
	if n, ok := number(w, r, "n", maxBody); ok && h.commit(w, r) {
		w.Write(Pattern(r.Header.Get(IDHeader), n))
	}
}

func (h *Handler) post(w http.ResponseWriter, r *http.Request) {
	if body, ok := whole(w, r); ok && h.commit(w, r) {
		w.Write(body)
	}
}

func (h *Handler) slow(w http.ResponseWriter, r *http.Request) {
	ms, ok := number(w, r, "ms", int(maxPause/time.Millisecond))
	if !ok || wait(r.Context(), time.Duration(ms)*time.Millisecond) != nil {
		return // the client has gone: nothing is applied
	}
	if h.commit(w, r) {
		w.Write(Pattern(r.Header.Get(IDHeader), 64))
	}
}

func (h *Handler) upload(w http.ResponseWriter, r *http.Request) {
	if body, ok := whole(w, r); ok && h.commit(w, r) {
		io.WriteString(w, Sum(body))
	}
}

func (h *Handler) chunked(w http.ResponseWriter, r *http.Request) {
	n, ok1 := number(w, r, "n", maxBody)
	chunks, ok2 := number(w, r, "chunks", maxBody)
	ms, ok3 := number(w, r, "ms", int(maxPause/time.Millisecond))
	if !ok1 || !ok2 || !ok3 || !h.commit(w, r) {
		return
	}
	out := http.NewResponseController(w)
	rest := Pattern(r.Header.Get(IDHeader), n)
	size := max((n+chunks-1)/max(chunks, 1), 1)
	for len(rest) > 0 {
		piece := rest[:min(size, len(rest))]
		rest = rest[len(piece):]
		if _, err := w.Write(piece); err != nil || out.Flush() != nil {
			return
		}
		if len(rest) > 0 && wait(r.Context(), time.Duration(ms)*time.Millisecond) != nil {
			return
		}
	}
}

func (h *Handler) sse(w http.ResponseWriter, r *http.Request) {
	ms, ok := number(w, r, "ms", int(maxPause/time.Millisecond))
	if !ok {
		return
	}
	last := 0
	if s := r.Header.Get("Last-Event-ID"); s != "" {
		var err error
		if last, err = strconv.Atoi(s); err != nil {
			http.Error(w, "Last-Event-ID is not a number", http.StatusBadRequest)
			return
		}
	}
	var leaving <-chan struct{}
	if h.Leaving != nil {
		leaving = h.Leaving(r.Context())
	}
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(max(time.Duration(ms)*time.Millisecond, time.Millisecond))
	defer tick.Stop()
	for {
		if out.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-leaving:
			return
		case <-r.Context().Done():
			return
		}
		last++
		fmt.Fprintf(w, "id: %d\ndata: %s %d\n\n", last, r.URL.Query().Get("stream"), last)
	}
}

// commit records the request. When that fails the request fails.
func (h *Handler) commit(w http.ResponseWriter, r *http.Request) bool {
	if h.Applied == nil {
		return true
	}
	if err := h.Applied.Record(r.Header.Get(IDHeader)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return false
	}
	return true
}

// whole reads the complete body; a part of one is never applied.
func whole(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, false
	}
	return body, true
}

func number(w http.ResponseWriter, r *http.Request, name string, most int) (int, bool) {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil || n < 0 || n > most {
		http.Error(w, fmt.Sprintf("%s must be a number from 0 to %d", name, most), http.StatusBadRequest)
		return 0, false
	}
	return n, true
}

// AskWho asks /pid over a connection of its own.
func AskWho(ctx context.Context, t Target) (Who, error) {
	var who Who
	s := &h1{target: t, kind: HTTP1{Fresh: true, Exchange: func(*Request) Exchange {
		return Exchange{Path: "/pid", Check: func(a Answer) error { return json.Unmarshal(a.Body, &who) }}
	}}}
	defer s.Close()
	if err := s.Send(ctx, &Request{ID: "who-0-0"}); err != nil {
		return Who{}, fmt.Errorf("ask who serves %s: %w", t.Addr, err)
	}
	return who, nil
}
