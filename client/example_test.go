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
