package conns_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/segue-go/segue/conns"
)

// A server leaves while a client keeps its connection.
func Example() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello")
	})}
	h, gate := conns.NewHTTP(srv), conns.NewGate(ln)
	served := make(chan error)
	go func() { served <- h.Serve(gate) }()

	url := "http://" + gate.Addr().String()
	get := func() {
		resp, err := http.Get(url)
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		fmt.Println(resp.Status, "close:", resp.Close)
	}
	get()

	gate.Shut()
	h.Announce()
	get() // on the connection it has

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println("wait:", h.Wait(ctx))
	fmt.Println("cut:", h.Cut())
	fmt.Println("shutdown:", h.Shutdown(ctx))
	fmt.Println("serve:", <-served)
	// Output:
	// 200 OK close: false
	// 200 OK close: true
	// wait: <nil>
	// cut: []
	// shutdown: <nil>
	// serve: <nil>
}

// Clients that come while a gate is shut wait in the socket's backlog, for this
// process or for another that has the socket.
func ExampleGate() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	gate := conns.NewGate(ln)
	defer gate.Close()

	gate.Shut()
	client, err := net.Dial("tcp", gate.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	gate.Open()

	c, err := gate.Accept()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println(c.RemoteAddr().String() == client.LocalAddr().String())
	// Output: true
}

// A stream ends by itself when its server leaves; its client comes back, to the
// successor.
func ExampleLeaving() {
	events := make(chan string)
	http.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case e := <-events:
				fmt.Fprintf(w, "data: %s\n\n", e)
				http.NewResponseController(w).Flush()
			case <-conns.Leaving(r.Context()):
				fmt.Fprint(w, "retry: 100\n\n")
				return
			case <-r.Context().Done():
				return
			}
		}
	})
}

// A Tracker counts for a server that is not net/http.
func ExampleTracker() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	var tracker conns.Tracker
	tracked := tracker.Listener(conns.NewGate(ln)) // to be served by grpc.Server.Serve, for instance
	defer tracked.Close()

	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	c, err := tracked.Accept()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tracker.Stats().Open)
	c.Close()
	fmt.Println(tracker.Stats().Open, tracker.Wait(context.Background()))
	// Output:
	// 1
	// 0 <nil>
}
