package control

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/segue-go/segue/client"
)

// lastEvents is how long the events of something that is over are waited for.
const lastEvents = time.Second

type result struct {
	report client.Report
	err    error
}

// act does something that ends with a report, and streams what happens to the
// service meanwhile; "" is all of them. It returns when it is over, whether or
// not anybody listens still: the request's context does not reach the backend.
func (s *Server) act(w http.ResponseWriter, r *http.Request, service string, do func(context.Context) (client.Report, error)) error {
	events, cancel := s.backend.Subscribe()
	defer cancel()
	over := make(chan result, 1)
	go func() {
		report, err := do(context.WithoutCancel(r.Context()))
		over <- result{report, err}
	}()
	out := newStream(w, "application/x-ndjson")
	var told reports
	for {
		select {
		case e, more := <-events:
			switch {
			case !more:
				events = nil
			case e.Kind == client.EventReport:
				told = append(told, e.Report)
			case concerns(e, service):
				out.event(e)
			}
		case end := <-over:
			if end.err == nil {
				out.rest(events, service, told, end.report)
				out.event(client.Event{Time: time.Now(), Service: end.report.Service, Kind: client.EventReport, Report: &end.report})
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

// reports are those that have come as events: of what is waited for, and of what
// else went on meanwhile.
type reports []*client.Report

// have says whether r was told: it, or everything of which it is the sum. What is
// about no generation had nothing to tell.
func (told reports) have(r client.Report) bool {
	if slices.ContainsFunc(told, func(t *client.Report) bool {
		return t.Service == r.Service && t.Action == r.Action && t.Began.Equal(r.Began)
	}) {
		return true
	}
	return r.From == nil && r.To == nil && !slices.ContainsFunc(r.Parts, func(p client.Report) bool { return !told.have(p) })
}

// rest sends the events up to the report, which may still be on their way when
// the report is there.
func (out *stream) rest(events <-chan client.Event, service string, told reports, report client.Report) {
	late := time.NewTimer(lastEvents)
	defer late.Stop()
	for events != nil && out.err == nil && !told.have(report) {
		select {
		case e, more := <-events:
			switch {
			case !more:
				return
			case e.Kind == client.EventReport:
				told = append(told, e.Report)
			case concerns(e, service):
				out.event(e)
			}
		case <-late.C:
			return
		}
	}
}
