package stay

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const beat = 5 * time.Millisecond

// echoServer echoes, but for the fifth message, with which fault does as it likes.
func echoServer(t *testing.T, fault func(c *websocket.Conn, kind int, message []byte)) Target {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for n := 1; ; n++ {
			kind, message, err := c.ReadMessage()
			if err != nil {
				return
			}
			if n == 5 {
				fault(c, kind, message)
			} else if c.WriteMessage(kind, message) != nil {
				return
			}
		}
	})
}

func serve(t *testing.T, h http.HandlerFunc) Target {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return Target{Addr: s.Listener.Addr().String()}
}

// TestEchoFaultsAreFound: a client that finds nothing must be one that would.
func TestEchoFaultsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(c *websocket.Conn, kind int, message []byte)
		want  func(Count) bool
	}{
		"lost": {func(*websocket.Conn, int, []byte) {}, func(c Count) bool { return c.Lost == 1 }},
		"duplicated": {func(c *websocket.Conn, kind int, m []byte) {
			c.WriteMessage(kind, m)
			c.WriteMessage(kind, m)
		}, func(c Count) bool { return c.Duplicated == 1 && c.Lost == 0 }},
		"reordered": {func(c *websocket.Conn, kind int, m []byte) {
			next, other, err := c.ReadMessage()
			if err != nil {
				return
			}
			c.WriteMessage(next, other)
			c.WriteMessage(kind, m)
		}, func(c Count) bool { return c.Reordered == 1 && c.Lost == 0 }},
		"changed": {func(c *websocket.Conn, kind int, m []byte) {
			c.WriteMessage(kind, append(m, "?"...))
		}, func(c Count) bool { return c.Wrong == 1 && c.Lost == 1 }},
		"closed": {func(c *websocket.Conn, _ int, _ []byte) {
			c.Close()
		}, func(c Count) bool { return c.Closed == 1 && c.Told == 0 && c.Lost > 0 }},
		"told": {func(c *websocket.Conn, _ int, _ []byte) {
			c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1012, ""))
			io.Copy(io.Discard, c.NetConn())
		}, func(c Count) bool { return c.Told == 1 && c.Closed == 0 && c.Lost == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			run, err := Start(Options{Loads: []Load{{Name: "echo", Target: echoServer(t, c.fault), Kind: Echo{Path: "/", Fragments: true}, Clients: 1, Every: beat}}})
			if err != nil {
				t.Fatal(err)
			}
			settle(t, run, func(c Count) bool { return c.Received >= 10 || c.Closed+c.Told > 0 })
			l := run.Stop()
			if got := l.Kind("echo"); !c.want(got) || l.Stayed() == nil {
				t.Errorf("%+v %q", got, l.Examples)
			}
		})
	}
}

// TestEventFaultsAreFound has streams that lose, repeat and mix events up.
func TestEventFaultsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		ids  []int
		end  string
		want func(Count) bool
	}{
		"lost":       {[]int{1, 2, 4, 5}, "", func(c Count) bool { return c.Lost == 1 }},
		"duplicated": {[]int{1, 2, 2, 3, 4, 5}, "", func(c Count) bool { return c.Duplicated == 1 && c.Lost == 0 }},
		"reordered":  {[]int{1, 3, 2, 4, 5}, "", func(c Count) bool { return c.Reordered == 1 && c.Lost == 0 }},
		"closed":     {[]int{1, 2, 3, 4, 5}, "\n", func(c Count) bool { return c.Closed == 1 }},
		"told":       {[]int{1, 2, 3, 4, 5}, "retry: 100\n\n", func(c Count) bool { return c.Told == 1 && c.Closed == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			begin := make(chan struct{})
			target := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					w.WriteHeader(http.StatusNoContent)
					return
				}
				io.WriteString(w, "id: 0\ndata: 0\n\n")
				w.(http.Flusher).Flush()
				<-begin
				for _, id := range c.ids {
					fmt.Fprintf(w, "id: %d\ndata: %d\n\n", id, time.Now().UnixNano())
				}
				io.WriteString(w, c.end)
				w.(http.Flusher).Flush()
				if c.end == "" {
					<-r.Context().Done()
				}
			})
			run, err := Start(Options{Loads: []Load{{Name: "sse", Target: target, Kind: Events{Path: "/", Topic: "t"}, Clients: 1}}})
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				run.publishes("t")
			}
			close(begin)
			settle(t, run, func(c Count) bool {
				return c.Received >= 3 && (name != "closed" && name != "told" || c.Closed+c.Told > 0)
			})
			l := run.Stop()
			if got := l.Kind("sse"); !c.want(got) || l.Stayed() == nil {
				t.Errorf("%+v %q", got, l.Examples)
			}
		})
	}
}

// TestRequestFaultsAreFound has answers that say goodbye, are wrong, or do not come.
func TestRequestFaultsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(http.ResponseWriter)
		want  func(Count) bool
	}{
		"goodbye": {func(w http.ResponseWriter) { w.Header().Set("Connection", "close") }, func(c Count) bool {
			return c.Goodbyes == 1 && c.Reconnects == 1 && c.Closed == 0
		}},
		"wrong": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusTeapot) }, func(c Count) bool { return c.Wrong == 1 && c.Reconnects == 0 }},
		"closed": {func(w http.ResponseWriter) {
			nc, _, _ := w.(http.Hijacker).Hijack()
			nc.(*net.TCPConn).SetLinger(0)
			nc.Close()
		}, func(c Count) bool { return c.Closed == 1 && c.Lost == 1 && c.Reconnects == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			target := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) == 5 {
					if c.fault(w); name == "closed" {
						return
					}
				}
				fmt.Fprintf(w, `{"n":%q,"method":"GET"}`, r.FormValue("n"))
			})
			run, err := Start(Options{Loads: []Load{{Name: "get", Target: target, Kind: Requests{Method: "GET", Path: "/", Pipeline: 1}, Clients: 1, Every: beat}}})
			if err != nil {
				t.Fatal(err)
			}
			settle(t, run, func(c Count) bool { return c.Received >= 10 })
			l := run.Stop()
			if got := l.Kind("get"); !c.want(got) || l.Stayed() == nil {
				t.Errorf("%+v %q", got, l.Examples)
			}
		})
	}
}

// TestPauseCountsFromIntended: a service that takes nothing for a while is not
// excused for what could not be sent meanwhile.
func TestPauseCountsFromIntended(t *testing.T) {
	const pause = 200 * time.Millisecond
	target := echoServer(t, func(c *websocket.Conn, kind int, m []byte) {
		time.Sleep(pause) // it is what is measured
		c.WriteMessage(kind, m)
	})
	run, err := Start(Options{Loads: []Load{{Name: "echo", Target: target, Kind: Echo{Path: "/"}, Clients: 1, Every: beat}}})
	if err != nil {
		t.Fatal(err)
	}
	settle(t, run, func(c Count) bool { return c.Received >= 20 })
	l := run.Stop()
	if c := l.Kind("echo"); c.Longest < pause {
		t.Errorf("%+v", c)
	}
	if err := l.Stayed(); err != nil {
		t.Error(err)
	}
}

func settle(t *testing.T, run *Run, ok func(Count) bool) {
	t.Helper()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(run.Ledger().Kinds[0]); <-tick.C {
		if time.Now().After(end) {
			t.Errorf("it does not get there: %+v", run.Ledger())
			return
		}
	}
}
