package control

import (
	"fmt"
	"net/http"
	"strings"
)

// routes is the whole API.
func (s *Server) routes() []route {
	return []route{
		{"GET", "/v1/status", s.status},
		{"GET", "/v1/version", s.version},
		{"GET", "/v1/events", s.events},
		{"GET", "/v1/logs", s.logs},
		{"POST", "/v1/restart", s.restart},
		{"POST", "/v1/stop", s.stop},
	}
}

type route struct {
	method, path string
	// serve answers, or returns why not before it has written anything.
	serve func(http.ResponseWriter, *http.Request) error
}

// handler answers strangers and unknown paths with a refusal, and everybody else
// from the table.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	var known []string
	methods := map[string][]string{}
	for _, r := range s.routes() {
		known = append(known, r.method+" "+r.path)
		methods[r.path] = append(methods[r.path], r.method)
		mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) {
			if err := r.serve(w, req); err != nil {
				refuse(w, err)
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		if allowed := methods[req.URL.Path]; allowed != nil {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			refuse(w, newRefusal(http.StatusMethodNotAllowed,
				fmt.Sprintf("cannot %s %s", req.Method, req.URL.Path), "use "+strings.Join(allowed, " or ")))
			return
		}
		refuse(w, newRefusal(http.StatusNotFound,
			fmt.Sprintf("there is nothing at %s", req.URL.Path), "there is "+strings.Join(known, ", ")))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err, stranger := req.Context().Value(strangerKey{}).(error); stranger {
			refuse(w, newRefusal(http.StatusForbidden, err.Error(), "run this command as the supervisor's user, or as root"))
			return
		}
		mux.ServeHTTP(w, req)
	})
}
