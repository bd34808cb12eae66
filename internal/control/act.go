package control

import (
	"context"
	"net/http"
	"time"

	"github.com/segue-go/segue/client"
)

// lastEvents is how long the events of something that is over are waited for.
const lastEvents = time.Second

type result struct {
	report client.Report
	err    error
}

// act does something that ends with a report, and streams what happens
// meanwhile. It returns when it is over, whether or not anybody listens still:
// the request's context does not reach the backend.
func (s *Server) act(w http.ResponseWriter, r *http.Request, do func(context.Context) (client.Report, error)) error {
	events, cancel := s.backend.Subscribe()
	defer cancel()
	over := make(chan result, 1)
	go func() {
		report, err := do(context.WithoutCancel(r.Context()))
		over <- result{report, err}
	}()
	out := newStream(w, "application/x-ndjson")
	var last *client.Report // of the service, which need not be the one that is waited for
	for {
		select {
		case e, more := <-events:
			switch {
			case !more:
				events = nil
			case e.Kind == client.EventReport:
				last = e.Report
			default:
				out.send(e)
			}
		case end := <-over:
			if end.err == nil {
				if !same(last, end.report) {
					out.rest(events, end.report)
				}
				out.send(client.Event{Time: time.Now(), Service: end.report.Service, Kind: client.EventReport, Report: &end.report})
				return nil
			}
			if !out.begun {
				return end.err
			}
			// Events of something else had come before the refusal.
			out.send(explain(end.err))
			return nil
		}
	}
}

func same(a *client.Report, b client.Report) bool {
	return a != nil && a.Action == b.Action && a.Began.Equal(b.Began)
}

// rest sends the events up to the report, which may still be on their way when
// the report is there.
func (out *stream) rest(events <-chan client.Event, report client.Report) {
	if events == nil || out.err != nil {
		return // there are no more, or nobody listens
	}
	late := time.NewTimer(lastEvents)
	defer late.Stop()
	for {
		select {
		case e, more := <-events:
			switch {
			case !more, e.Kind == client.EventReport && same(e.Report, report):
				return
			case e.Kind != client.EventReport:
				out.send(e)
			}
		case <-late.C:
			return
		}
	}
}
