package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"
	"golang.org/x/sys/unix"

	"github.com/segue-go/segue"
	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/handover"
)

// What the service is told by its environment.
const (
	envService = "SEGUE_MOVE_SERVICE" // pid of the benchmark; this program is the service then
	envTLS     = "SEGUE_MOVE_TLS"     // directory of the certificate
	envPace    = "SEGUE_MOVE_PACE"    // goodbyes per second
	envDie     = "SEGUE_MOVE_DIE"     // generation:n kills itself in its nth replay
)

// line is what a process of the service says on its standard output.
type line struct {
	PID   int
	At    time.Time
	Addr  string           `json:",omitempty"` // serving here
	Phase string           `json:",omitempty"`
	Move  *segue.Move      `json:",omitempty"` // the departure, at its end
	Step  *handover.Step   `json:",omitempty"` // the move, ended
	Over  *handover.Report `json:",omitempty"` // a handover has ended
	Told  map[string]int   `json:",omitempty"` // at the end
	Fault string           `json:",omitempty"`
}

// serve is the service.
func serve() error {
	ctx, cancel := dieWith(os.Getenv(envService))
	defer cancel()
	enc := json.NewEncoder(os.Stdout)
	var mu sync.Mutex
	say := func(l line) {
		mu.Lock()
		defer mu.Unlock()
		l.PID, l.At = os.Getpid(), time.Now()
		enc.Encode(l)
	}
	pace, _ := strconv.ParseFloat(os.Getenv(envPace), 64)
	o := segue.Options{
		Trial: 50 * time.Millisecond, Probation: 50 * time.Millisecond, DrainTimeout: 20 * time.Second,
		Pace: conns.Pace{PerSecond: pace},
		Events: func(e segue.Event) {
			switch e := e.(type) {
			case segue.Listening:
				say(line{Addr: e.Addr})
			case segue.PhaseChanged:
				say(line{Phase: e.To.String()})
			case segue.ConnectionsMoved:
				if e.Move != nil {
					say(line{Move: e.Move})
				}
			case segue.HandoverStep:
				if e.Step.Name == handover.StepMove && e.Step.Ended {
					say(line{Step: &e.Step})
				}
			case segue.HandoverEnded:
				say(line{Over: &e.Report})
			case segue.Reported:
				say(line{Told: e.Report.Goodbyes})
			case segue.Problem:
				say(line{Fault: e.Err.Error()})
			}
		},
	}
	return segue.Run(ctx, o, func(_ context.Context, app *segue.App) error {
		srv := &http.Server{Handler: routes(app.Generation()), ErrorLog: log.New(io.Discard, "", 0)}
		if dir := os.Getenv(envTLS); dir != "" {
			cert, err := tls.LoadX509KeyPair(dir+"/cert.pem", dir+"/key.pem")
			if err != nil {
				return err
			}
			srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
		}
		app.Serve("web", "127.0.0.1:0", srv)
		return nil
	})
}

// dieWith ends the context with the benchmark.
func dieWith(parent string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	pid, _ := strconv.Atoi(parent)
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		cancel()
		return ctx, cancel
	}
	go func() {
		for {
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); err != unix.EINTR {
				break
			}
		}
		cancel()
	}()
	return ctx, cancel
}

func routes(generation int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"generation":%d,"pid":%d}`, generation, os.Getpid())
	})
	mux.HandleFunc("/events", events)
	for name, echo := range map[string]http.HandlerFunc{"gorilla": gorillaEcho, "coder": coderEcho, "gobwas": gobwasEcho, "gws": gwsEcho} {
		mux.HandleFunc("/plain/"+name, echo)
		mux.HandleFunc("/ws/"+name, func(w http.ResponseWriter, r *http.Request) {
			conns.Movable(r.Context())
			if _, again := conns.Resumed(r.Context()); again {
				dieIfTold(generation)
			}
			echo(w, r)
		})
	}
	return mux
}

var replays atomic.Int64

func dieIfTold(generation int) {
	var at, nth int64
	if _, err := fmt.Sscanf(os.Getenv(envDie), "%d:%d", &at, &nth); err == nil && int64(generation) == at && replays.Add(1) == nth {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
}

var upgrader = gorilla.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}

func gorillaEcho(w http.ResponseWriter, r *http.Request) {
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		kind, message, err := c.ReadMessage()
		if err != nil || c.WriteMessage(kind, message) != nil {
			return
		}
	}
}

func coderEcho(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

func gobwasEcho(w http.ResponseWriter, r *http.Request) {
	c, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		message, op, err := wsutil.ReadClientData(c)
		if err != nil || wsutil.WriteServerMessage(c, op, message) != nil {
			return
		}
	}
}

type gwsHandler struct{ gws.BuiltinEventHandler }

func (gwsHandler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	c.WriteMessage(m.Opcode, m.Bytes())
}

var gwsUpgrader = gws.NewUpgrader(gwsHandler{}, nil)

func gwsEcho(w http.ResponseWriter, r *http.Request) {
	c, err := gwsUpgrader.Upgrade(w, r)
	if err != nil {
		return
	}
	c.ReadLoop()
}

// events counts from the last id on.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	n, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		n++
		fmt.Fprintf(w, "id: %d\ndata: x\n\n", n)
		w.(http.Flusher).Flush()
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
