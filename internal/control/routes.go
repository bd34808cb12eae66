package control

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/segue-go/segue/client"
)

// route is one thing that can be asked for.
type route struct {
	method, path string
	may          access // who asks must have it
	does         string // in a sentence, for the OpenAPI document
	takes        any    // a body, or of a GET the query; nil is nothing
	gives        any    // the answer, or each piece of one that is a stream; nil is text
	as           form
	// serve answers, or returns why not before it has written anything.
	serve func(http.ResponseWriter, *http.Request) error
}

// form is how an answer comes.
type form int

const (
	value    form = iota // one JSON value
	progress             // events as lines of JSON while it lasts, then its report or a refusal
	events               // events as lines of JSON or as server-sent events, without end
	text                 // lines of text
	document             // a file of this package
)

// routes is the whole API.
func (s *Server) routes() []route {
	b := s.backend
	return []route{
		{"GET", "/v1/status", read, "How the supervisor and its services are.", nil, client.Overview{}, value, s.status},
		{"GET", "/v1/version", read, "Which supervisor answers.", nil, client.Version{}, value, s.version},
		{"GET", "/v1/events", read, "What happens to a service, or to all of them, beginning with the present state of each.", eventsRequest{}, client.Event{}, events, s.events},
		{"GET", "/v1/logs", read, "What a service has written.", client.LogsRequest{}, nil, text, s.logs},
		{"GET", "/v1/openapi.json", read, "This document.", nil, nil, document, s.openAPI},

		{"POST", "/v1/services/{service}/restart", change, "Puts a new generation in the place of the one that serves.", client.RestartRequest{}, client.Event{}, progress, s.restart},
		{"POST", "/v1/services/{service}/rollback", change, "Restarts a service with the binary and the environment of the generation before.", nil, client.Event{}, progress, s.asked(b.Rollback)},
		{"POST", "/v1/services/{service}/start", change, "Starts a service that does not run.", nil, client.Event{}, progress, s.asked(b.Start)},
		{"POST", "/v1/services/{service}/stop", change, "Stops a service in order.", nil, client.Event{}, progress, s.asked(b.Stop)},
		{"POST", "/v1/services/{service}/reload", change, "Has a service read its configuration again.", nil, client.Event{}, progress, s.asked(b.Reload)},
		{"POST", "/v1/stop", change, "Stops all services in order, and the supervisor.", nil, client.Event{}, progress, s.asked(b.Stop)},
		{"POST", "/v1/reload", change, "Applies the supervisor's file: what has changed is replaced, what has not is not touched.", nil, client.Event{}, progress, s.asked(b.Reload)},
		{"POST", "/v1/upgrade", change, "Executes another segue command in the supervisor's place. The answer breaks off when that has happened; only a refusal is complete.", client.UpgradeRequest{}, client.Event{}, progress, s.upgrade},
	}
}

// asked is the handler of what needs no more than the name of a service, if that.
func (s *Server) asked(do func(context.Context, string) (client.Report, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := readBody(w, r, &struct{}{}); err != nil {
			return err
		}
		service := r.PathValue("service")
		return s.act(w, r, service, func(ctx context.Context) (client.Report, error) { return do(ctx, service) })
	}
}

// handler answers from the table whoever may ask, and everything else with a
// refusal.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	var known []string
	methods := map[string][]string{}
	for _, r := range s.routes() {
		known = append(known, r.method+" "+r.path)
		methods[r.path] = append(methods[r.path], r.method)
		mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) {
			err := s.allow(req, r.may)
			if err == nil {
				err = s.known(req.PathValue("service"))
			}
			if err == nil {
				err = r.serve(w, req)
			}
			if err != nil {
				refuse(w, err)
			}
		})
	}
	// What has no method is less specific than what has one (net/http, ServeMux).
	refusing := func(pattern string, why func(*http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
			if err := s.allow(req, read); err != nil {
				refuse(w, err)
				return
			}
			if allowed := methods[pattern]; allowed != nil {
				w.Header().Set("Allow", strings.Join(allowed, ", "))
			}
			refuse(w, why(req))
		})
	}
	for p, allowed := range methods {
		refusing(p, func(req *http.Request) error {
			return newRefusal(http.StatusMethodNotAllowed,
				fmt.Sprintf("cannot %s %s", req.Method, req.URL.Path), "use "+strings.Join(allowed, " or "))
		})
	}
	missing := func(req *http.Request) error {
		return newRefusal(http.StatusNotFound,
			fmt.Sprintf("there is nothing at %s", req.URL.Path), "there is "+strings.Join(known, ", "))
	}
	refusing("/", missing)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if p := req.URL.Path; path.Clean(p) != p { // the mux would answer with a page that says where to go
			refuse(w, missing(req))
			return
		}
		mux.ServeHTTP(w, req)
	})
}

// known refuses the name of a service that is not there; "" is none.
func (s *Server) known(service string) error {
	if service == "" {
		return nil
	}
	all := s.backend.Overview()
	if len(all.Of(service)) > 0 {
		return nil
	}
	return newRefusal(http.StatusNotFound, fmt.Sprintf("%s has no service %q", all.Name, service),
		"its services are "+strings.Join(all.Names(), ", "))
}
