package conns_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
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

// An event stream without ids may move if its request says all that it needs.
func ExampleMovable() {
	c, stop := visit(func(w http.ResponseWriter, r *http.Request) {
		conns.Movable(r.Context())
		w.Header().Set("Content-Type", "text/event-stream")
		for price := 100; ; price++ {
			fmt.Fprintf(w, "data: %s costs %d\n\n", r.URL.Path, price)
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		}
	})
	defer stop()
	fmt.Fprint(c, "GET /tea HTTP/1.1\r\nHost: shop\r\nAccept: text/event-stream\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		log.Fatal(err)
	}
	event, err := bufio.NewReader(resp.Body).ReadString('\n')
	fmt.Print(event, err)
	// Output:
	// data: /tea costs 100
	// <nil>
}

// A connection takes what it has learned from its client to the next process.
func ExampleSave() {
	c, stop := visit(func(w http.ResponseWriter, r *http.Request) {
		var topics []string
		if state, ok := conns.Resumed(r.Context()); ok {
			json.Unmarshal(state, &topics)
		}
		conns.Movable(r.Context())
		conns.Framing(r.Context(), lines{}, lines{})
		conns.Save(r.Context(), func() []byte { // the loop below waits for a line meanwhile
			state, _ := json.Marshal(topics)
			return state
		})
		for in, out := range upgrade(w) {
			topics = append(topics, in)
			fmt.Fprintf(out, "topics: %v\n", topics)
		}
	})
	defer stop()
	converse(c, "tea", "coffee")
	// Output:
	// topics: [tea]
	// topics: [tea coffee]
}

// A ticker writes without having been asked. It stops when the state was saved,
// since the new process has one too, and goes on if the connection stays.
func ExampleStayed() {
	c, stop := visit(func(w http.ResponseWriter, r *http.Request) {
		var saved atomic.Bool
		conns.Movable(r.Context())
		conns.Framing(r.Context(), lines{}, lines{})
		conns.Save(r.Context(), func() []byte { saved.Store(true); return nil })
		conns.Stayed(r.Context(), func() { saved.Store(false) })
		for in, out := range upgrade(w) {
			if !saved.Load() {
				fmt.Fprintf(out, "tick after %s\n", in)
			}
		}
	})
	defer stop()
	converse(c, "tea")
	// Output:
	// tick after tea
}

// What is done when a client connects is not done again when it has moved.
func ExampleResumed() {
	c, stop := visit(func(w http.ResponseWriter, r *http.Request) {
		conns.Movable(r.Context())
		conns.Framing(r.Context(), lines{}, lines{})
		if _, again := conns.Resumed(r.Context()); !again {
			fmt.Println("a new client")
		}
		for in, out := range upgrade(w) {
			fmt.Fprintf(out, "you said %s\n", in)
		}
	})
	defer stop()
	converse(c, "hello")
	// Output:
	// a new client
	// you said hello
}

// The members of a room are never in two processes: what one says all the others
// hear, and what was said goes with them.
func ExampleGroup() {
	var mu sync.Mutex
	var said []string
	c, stop := visit(func(w http.ResponseWriter, r *http.Request) {
		conns.Movable(r.Context())
		conns.Framing(r.Context(), lines{}, lines{})
		room := conns.Group(r.Context(), "room "+r.URL.Path)
		room.Save(func() []byte {
			mu.Lock()
			defer mu.Unlock()
			state, _ := json.Marshal(said)
			return state
		})
		mu.Lock()
		if state, ok := room.Resumed(); ok && said == nil {
			json.Unmarshal(state, &said)
		}
		mu.Unlock()
		for in, out := range upgrade(w) {
			mu.Lock()
			said = append(said, in)
			fmt.Fprintf(out, "said so far: %v\n", said)
			mu.Unlock()
		}
	})
	defer stop()
	converse(c, "hello", "anybody here?")
	// Output:
	// said so far: [hello]
	// said so far: [hello anybody here?]
}

// lines is the framing of a protocol whose messages are lines.
type lines struct{}

func (lines) Next(b []byte) (n int, end bool) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1, true
	}
	return len(b), false
}

// A protocol of one's own moves between two of its messages.
func ExampleFraming() {
	c, stop := visit(func(w http.ResponseWriter, r *http.Request) {
		conns.Movable(r.Context())
		conns.Framing(r.Context(), lines{}, lines{}) // as it is read, and as it is written
		for in, out := range upgrade(w) {
			fmt.Fprintf(out, "you said %s\n", in)
		}
	})
	defer stop()
	converse(c, "hello", "goodbye")
	// Output:
	// you said hello
	// you said goodbye
}

// upgrade hijacks the connection and returns each line that comes on it, with
// where to answer.
func upgrade(w http.ResponseWriter) iter.Seq2[string, io.Writer] {
	return func(yield func(string, io.Writer) bool) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: lines\r\nConnection: Upgrade\r\n\r\n")
		for in := bufio.NewScanner(rw); in.Scan() && yield(in.Text(), c); {
		}
	}
}

// converse upgrades c, sends lines, and prints the answer to each.
func converse(c net.Conn, say ...string) {
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: lines\r\nConnection: Upgrade\r\n\r\n")
	in := bufio.NewReader(c)
	if _, err := http.ReadResponse(in, nil); err != nil {
		log.Fatal(err)
	}
	for _, line := range say {
		fmt.Fprintln(c, line)
		answer, err := in.ReadString('\n')
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(answer)
	}
}

// visit serves handler and connects to it.
func visit(handler http.HandlerFunc) (c net.Conn, stop func()) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	h := conns.NewHTTP(&http.Server{Handler: handler})
	served := make(chan error)
	go func() { served <- h.Serve(conns.NewGate(ln)) }()
	c, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	return c, func() {
		c.Close()
		h.Wait(context.Background())
		h.Shutdown(context.Background())
		<-served
	}
}
