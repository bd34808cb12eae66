package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/segue-go/segue/client"
)

// supervisor stands in for `segue run --name shop`: it answers path with body.
func supervisor(path, body string) (socket string, stop func()) {
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		log.Fatal(err)
	}
	socket = filepath.Join(dir, "api.sock")
	mux := http.NewServeMux()
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) })
	srv := httptest.NewUnstartedServer(mux)
	srv.Listener.Close()
	if srv.Listener, err = net.Listen("unix", socket); err != nil {
		log.Fatal(err)
	}
	srv.Start()
	return socket, func() { srv.Close(); os.RemoveAll(dir) }
}

func ExampleClient_Overview() {
	socket, stop := supervisor("GET /v1/status", `{"name":"shop","services":[{"service":"web","state":"serving","generations":[{"number":3,"pid":4711,"role":"serving"}]}]}`)
	defer stop()

	all, err := client.New(socket).Overview(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range all.Services {
		fmt.Println(s.Service, "is", s.State, "with generation", s.Generations[0].Number)
	}
	// Output: web is serving with generation 3
}

func ExampleClient_Restart() {
	socket, stop := supervisor("POST /v1/services/web/restart", `{"kind":"step","step":{"name":"spawn"},"ended":true}
{"kind":"step","step":{"name":"ready","error":"the new generation exited with status 1"},"ended":true}
{"kind":"report","report":{"outcome":"rolled back","reason":"the new generation exited with status 1"}}
`)
	defer stop()

	report, err := client.New(socket).Restart(context.Background(), "web", client.RestartRequest{Binary: "/srv/shop-2"}, func(e client.Event) {
		if e.Kind == client.EventStep && e.Ended {
			fmt.Printf("%s: %q\n", e.Step.Name, e.Step.Error)
		}
	})
	if err != nil {
		log.Fatal(err) // no restart was begun
	}
	if report.Outcome != client.Done {
		fmt.Println(report.Outcome+":", report.Reason)
	}
	// Output:
	// spawn: ""
	// ready: "the new generation exited with status 1"
	// rolled back: the new generation exited with status 1
}

func ExampleClient_Stop() {
	socket, stop := supervisor("POST /v1/stop", `{"kind":"report","report":{"outcome":"done","drain":{"finished":12}}}`)
	defer stop()

	report, err := client.New(socket).Stop(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Outcome, "after", report.Drain.Finished, "requests")
	// Output: done after 12 requests
}

func ExampleClient_Rollback() {
	socket, stop := supervisor("POST /v1/services/web/rollback", `{"kind":"report","report":{"service":"web","action":"rollback","outcome":"done","to":{"number":5,"binary":"/srv/shop-1"}}}`)
	defer stop()

	report, err := client.New(socket).Rollback(context.Background(), "web", nil)
	if err != nil {
		log.Fatal(err) // there is nothing to go back to, for one
	}
	fmt.Println(report.Outcome+":", report.Service, "runs", report.To.Binary, "again")
	// Output: done: web runs /srv/shop-1 again
}

func ExampleClient_Start() {
	socket, stop := supervisor("POST /v1/services/worker/start", `{"error":"cannot start worker: it runs","hint":"restart it"}`)
	defer stop()

	_, err := client.New(socket).Start(context.Background(), "worker", nil)
	var refused *client.Error
	if errors.As(err, &refused) {
		fmt.Println(refused.Message)
		fmt.Println(refused.Hint)
	}
	// Output:
	// cannot start worker: it runs
	// restart it
}

func ExampleClient_Reload() {
	socket, stop := supervisor("POST /v1/reload", `{"kind":"report","report":{"action":"reload","outcome":"done","parts":[{"service":"web","action":"restart","outcome":"done"}],"unchanged":["db"]}}`)
	defer stop()

	report, err := client.New(socket).Reload(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range report.Parts {
		fmt.Println(p.Service, p.Action, p.Outcome)
	}
	fmt.Println("unchanged:", report.Unchanged)
	// Output:
	// web restart done
	// unchanged: [db]
}

func ExampleClient_Upgrade() {
	// Nobody supervises anything here; a supervisor that does would answer again
	// within a moment, from the same process.
	version, err := client.New("/run/segue/shop/api.sock").Upgrade(context.Background(), client.UpgradeRequest{Binary: "/usr/local/bin/segue"}, nil)
	if err != nil {
		fmt.Println("not upgraded:", errors.Is(err, client.ErrNotRunning))
		return
	}
	fmt.Println("the supervisor is", version.Version)
	// Output: not upgraded: true
}

func ExampleClient_Version() {
	socket, stop := supervisor("GET /v1/version", `{"version":"v1.4.0","api":1}`)
	defer stop()

	v, err := client.New(socket).Version(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(v.Version, v.API == client.APIVersion)
	// Output: v1.4.0 true
}

func ExampleOverview_Names() {
	all := client.Overview{Services: []client.Status{{Service: "db"}, {Service: "web.1"}, {Service: "web.2"}}}
	fmt.Println(all.Names(), len(all.Of("web")))
	// Output: [db web] 2
}

func ExampleClient_Events() {
	socket, stop := supervisor("GET /v1/events", `{"kind":"state","state":"serving"}
{"kind":"exit","generation":3,"text":"exited with status 2"}
`)
	defer stop()

	err := client.New(socket).Events(context.Background(), "", func(e client.Event) error {
		fmt.Printf("%s: %s%s\n", e.Kind, e.State, e.Text)
		return nil
	})
	fmt.Println(err) // nil: the supervisor has left
	// Output:
	// state: serving
	// exit: exited with status 2
	// <nil>
}

func ExampleClient_Logs() {
	socket, stop := supervisor("GET /v1/logs", "listening on :8080\n")
	defer stop()

	if err := client.New(socket).Logs(context.Background(), client.LogsRequest{}, os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output: listening on :8080
}

func ExampleDial() {
	_, err := client.Dial(context.Background(), "/run/segue/shop/api.sock")
	if errors.Is(err, client.ErrNotRunning) {
		fmt.Println("nobody supervises the shop")
	}
	// Output: nobody supervises the shop
}
