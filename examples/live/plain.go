package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// describe answers any request with what it was.
func describe(w http.ResponseWriter, r *http.Request) {
	size, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return // the client is gone
	}
	reply(w, map[string]any{"method": r.Method, "n": r.URL.Query().Get("n"), "bytes": size, "pid": os.Getpid()})
}

// upload answers with the SHA-256 of the body.
func upload(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	size, err := io.Copy(sum, r.Body)
	if err != nil {
		return
	}
	reply(w, map[string]any{"bytes": size, "sha256": fmt.Sprintf("%x", sum.Sum(nil))})
}

// slow answers after ?for=, a second by default.
func slow(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.FormValue("for"))
	if err != nil {
		d = time.Second
	}
	select {
	case <-time.After(d):
		reply(w, map[string]any{"slept": d.String(), "pid": os.Getpid()})
	case <-r.Context().Done():
	}
}

// ServePublish answers POST /publish?topic=NAME: the body is the event.
func (b *Bus) ServePublish(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<10))
	if err != nil {
		return
	}
	if err := b.Publish(r.FormValue("topic"), string(text)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func version(w http.ResponseWriter, generation int) {
	reply(w, map[string]any{"generation": generation, "pid": os.Getpid()})
}

func reply(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}
