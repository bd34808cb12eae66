package control

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/segue-go/segue/client"
)

func (s *Server) status(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, s.backend.Overview())
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, client.Version{Version: s.backend.Overview().Version, API: client.APIVersion})
}

func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
	return nil
}

// events streams what happens, beginning with the present state.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	events, cancel := s.backend.Subscribe()
	defer cancel()
	out := newStream(w, "application/x-ndjson")
	for _, now := range s.backend.Overview().Services {
		out.send(client.Event{Time: now.Since, Service: now.Service, Kind: client.EventState, State: now.State, Text: now.Reason})
	}
	for {
		select {
		case e, more := <-events:
			if !more || !out.send(e) {
				return nil
			}
		case <-s.leaving:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) error {
	req, err := readLogsRequest(r.URL.Query())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-s.leaving:
			cancel()
		case <-ctx.Done():
		}
	}()
	out := newStream(w, "text/plain; charset=utf-8")
	err = s.backend.Logs(ctx, req, out)
	if err != nil && ctx.Err() == nil && out.begun {
		panic(http.ErrAbortHandler) // the client must not take this for the end
	}
	if out.begun || ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *Server) restart(w http.ResponseWriter, r *http.Request) error {
	var req client.RestartRequest
	if err := readBody(w, r, &req); err != nil {
		return err
	}
	return s.act(w, r, func(ctx context.Context) (client.Report, error) { return s.backend.Restart(ctx, "", req) })
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) error {
	if err := readBody(w, r, &struct{}{}); err != nil {
		return err
	}
	return s.act(w, r, func(ctx context.Context) (client.Report, error) { return s.backend.Stop(ctx, "") })
}
