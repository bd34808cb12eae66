package control

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
)

// several are two services, one of which has two instances.
var several = &client.Overview{Name: "shop", Services: []client.Status{
	{Service: "db", State: client.Serving}, {Service: "web.1", State: client.Serving}, {Service: "web.2", State: client.Failed, Reason: "why not"},
}}

// TestServerSentEvents reads them as a browser does.
func TestServerSentEvents(t *testing.T) {
	f := &fake{all: several}
	socket := serve(t, f, func(s *Server) { s.heartbeat = time.Millisecond })
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://x/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream, */*;q=0.1")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("Content-Type %q", kind)
	}
	var got []string
	beats := 0
	for s := bufio.NewScanner(resp.Body); len(got) < 9 || beats == 0; {
		if !s.Scan() {
			t.Fatalf("it ended after %q: %v", got, s.Err())
		}
		switch line := s.Text(); line {
		case ":":
			beats++
		case "":
		default:
			got = append(got, line)
			if len(got) == 7 { // the present state is there
				f.publish(client.Event{Kind: client.EventProblem, Service: "db", Text: "two\nlines"})
			}
		}
	}
	want := []string{
		"retry: 1000",
		"event: state", `data: {"time":"0001-01-01T00:00:00Z","service":"db","kind":"state","state":"serving"}`,
		"event: state", `data: {"time":"0001-01-01T00:00:00Z","service":"web.1","kind":"state","state":"serving"}`,
		"event: state", `data: {"time":"0001-01-01T00:00:00Z","service":"web.2","kind":"state","state":"failed","text":"why not"}`,
		"event: problem", `data: {"time":"0001-01-01T00:00:00Z","service":"db","kind":"problem","text":"two\nlines"}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestEventsOfOneService: of it, of its instances, and of all.
func TestEventsOfOneService(t *testing.T) {
	f := &fake{all: several}
	enough := errors.New("enough")
	var got []string
	err := client.New(serve(t, f)).Events(t.Context(), "web", func(e client.Event) error {
		got = append(got, e.Service+":"+string(e.Kind))
		if len(got) == 2 {
			for _, service := range []string{"db", "web.1", "", "webs.1", "web.x", "web.2"} {
				f.publish(client.Event{Service: service, Kind: client.EventProblem})
			}
		}
		if len(got) == 5 {
			return enough
		}
		return nil
	})
	if want := "web.1:state web.2:state web.1:problem :problem web.2:problem"; !errors.Is(err, enough) || strings.Join(got, " ") != want {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestWhatIsAsked: every verb of the client is what the backend is asked for, of
// the right service, with the events of that one.
func TestWhatIsAsked(t *testing.T) {
	f := &fake{all: several}
	var asked string
	f.act = func(_ context.Context, action, service string) (client.Report, error) {
		asked = action + " " + service
		f.publish(client.Event{Service: "db", Kind: client.EventProblem})
		f.publish(client.Event{Service: "web.2", Kind: client.EventProblem})
		return client.Report{Service: service, Action: action, Outcome: client.Done, Began: time.Now()}, nil
	}
	f.restart = func(ctx context.Context, r client.RestartRequest) (client.Report, error) {
		r2, err := f.act(ctx, "restart "+r.Binary, "web")
		f.heard(t)
		return r2, err
	}
	c := client.New(serve(t, f))
	ctx := t.Context()
	var seen []string
	progress := func(e client.Event) { seen = append(seen, e.Service) }
	for want, do := range map[string]func() (client.Report, error){
		"rollback web": func() (client.Report, error) { return c.Rollback(ctx, "web", nil) },
		"start web.1":  func() (client.Report, error) { return c.Start(ctx, "web.1", nil) },
		"stop db":      func() (client.Report, error) { return c.Stop(ctx, "db", nil) },
		"stop ":        func() (client.Report, error) { return c.Stop(ctx, "", nil) },
		"reload db":    func() (client.Report, error) { return c.Reload(ctx, "db", nil) },
		"reload ":      func() (client.Report, error) { return c.Reload(ctx, "", nil) },
		"restart /bin/shop-2 web": func() (client.Report, error) {
			return c.Restart(ctx, "web", client.RestartRequest{Binary: "/bin/shop-2"}, progress)
		},
	} {
		if r, err := do(); err != nil || asked != want || r.Outcome != client.Done {
			t.Errorf("asked %q, want %q: %+v, %v", asked, want, r, err)
		}
	}
	if strings.Join(seen, " ") != "web.2" {
		t.Errorf("told of %v", seen)
	}
	_, err := c.Rollback(ctx, "", nil)
	var told *client.Error
	if !errors.As(err, &told) || told.Error() != "shop has several services: db, web; say which one" {
		t.Errorf("got %v", err)
	}
	_, err = c.Start(ctx, "a/b", nil)
	if !errors.As(err, &told) || told.Error() != `shop has no service "a/b"; its services are db, web` {
		t.Errorf("got %v", err)
	}
}

// TestPartsAreWaitedFor: the events of the parts of a report come before it.
func TestPartsAreWaitedFor(t *testing.T) {
	f := &fake{all: several}
	f.act = func(context.Context, string, string) (client.Report, error) {
		sum := client.Report{Service: "web", Action: "rollback", Began: time.Now()}
		for _, name := range []string{"web.1", "web.2"} {
			sum.Parts = append(sum.Parts, client.Report{Service: name, Action: "rollback", Began: time.Now(), To: &client.Generation{Number: 2}})
		}
		time.AfterFunc(time.Millisecond, func() {
			for _, p := range sum.Parts {
				f.publish(client.Event{Service: p.Service, Kind: client.EventExit})
				f.publish(client.Event{Service: p.Service, Kind: client.EventReport, Report: &p})
			}
		})
		return sum, nil
	}
	var seen []string
	r, err := client.New(serve(t, f)).Rollback(t.Context(), "web", func(e client.Event) { seen = append(seen, e.Service+":"+string(e.Kind)) })
	if err != nil || len(r.Parts) != 2 || strings.Join(seen, " ") != "web.1:exit web.2:exit" {
		t.Errorf("got %+v, %v after %v", r, err, seen)
	}
}
