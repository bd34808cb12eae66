package control

import (
	"context"
	_ "embed"
	"encoding/json"
	"net/http"

	"github.com/segue-go/segue/client"
)

//go:embed openapi.json
var openAPI []byte

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Write(openAPI)
	return nil
}

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

func (s *Server) logs(w http.ResponseWriter, r *http.Request) error {
	var req client.LogsRequest
	if err := readQuery(r.URL.Query(), &req); err != nil {
		return err
	}
	if req.Generation < 0 {
		return badQuery(&req, "generation=%d is not the number of a generation", req.Generation)
	}
	if err := s.known(req.Service); err != nil {
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
	err := s.backend.Logs(ctx, req, out)
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
	service := r.PathValue("service")
	return s.act(w, r, service, func(ctx context.Context) (client.Report, error) { return s.backend.Restart(ctx, service, req) })
}

// upgrade ends with the connection, which exec(2) closes, unless the backend
// refuses.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) error {
	var req client.UpgradeRequest
	if err := readBody(w, r, &req); err != nil {
		return err
	}
	return s.act(w, r, "", func(ctx context.Context) (client.Report, error) {
		return client.Report{}, s.backend.Upgrade(ctx, req)
	})
}
