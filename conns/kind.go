package conns

import (
	"net/http"
	"strings"
)

// kind is the protocol of a connection or of one request on it.
type kind uint8

const (
	kindOther kind = iota
	kindHTTP1
	kindHTTP2
	kindWebSocket
	kindSSE
	kinds
)

func (k kind) String() string {
	return [kinds]string{"other", "http1", "h2", "websocket", "sse"}[k]
}

const eventStream = "text/event-stream"

// kindOf classifies a request by what it asks for: the answer is not known yet.
// The keys are canonical because net/http's parsers make them so.
func kindOf(r *http.Request) kind {
	if v := r.Header["Upgrade"]; len(v) > 0 && strings.EqualFold(v[0], "websocket") {
		return kindWebSocket
	}
	if v := r.Header["Accept"]; len(v) > 0 && strings.Contains(v[0], eventStream) {
		return kindSSE
	}
	if r.ProtoMajor < 2 {
		return kindHTTP1
	}
	if v := r.Header[":protocol"]; len(v) > 0 && v[0] == "websocket" { // RFC 8441
		return kindWebSocket
	}
	return kindHTTP2
}
