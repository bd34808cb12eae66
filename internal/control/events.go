package control

import (
	"net/http"
	"strings"
	"time"

	"github.com/segue-go/segue/client"
)

// heartbeat is how often a stream of server-sent events says that it lives, for
// whatever stands between it and its reader.
const heartbeat = 15 * time.Second

// eventsRequest is the query of /v1/events.
type eventsRequest struct {
	Service string `json:"service,omitempty"` // "" is every service
}

// events streams what happens, beginning with the present state of each service.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	var req eventsRequest
	if err := readQuery(r.URL.Query(), &req); err != nil {
		return err
	}
	if err := s.known(req.Service); err != nil {
		return err
	}
	events, cancel := s.backend.Subscribe()
	defer cancel()
	out := newStream(w, "application/x-ndjson")
	var beat <-chan time.Time
	if strings.Contains(r.Header.Get("Accept"), sse) {
		out.kind = sse
		ticker := time.NewTicker(s.heartbeat)
		defer ticker.Stop()
		beat = ticker.C
		out.retry(time.Second)
	}
	all := s.backend.Overview()
	for _, now := range all.Of(req.Service) {
		out.event(client.Event{Time: now.Since, Service: now.Service, Kind: client.EventState, State: now.State, Text: now.Reason})
	}
	for out.err == nil {
		select {
		case e, more := <-events:
			if !more {
				return nil
			}
			if concerns(e, req.Service) {
				out.event(e)
			}
		case <-beat:
			out.comment()
		case <-s.leaving:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
	return nil
}

// concerns: what is about no service in particular is about all.
func concerns(e client.Event, service string) bool {
	return service == "" || e.Service == "" || client.InService(e.Service, service)
}
