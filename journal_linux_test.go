package segue

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/handover"
)

// TestSuccessorIsKilled kills a successor in its probation, in the middle of
// known requests: the predecessor goes on, and names exactly those.
func TestSuccessorIsKilled(t *testing.T) {
	l := spawn(t, "web", nil, envOptions+"=probation=60s")
	addr := l.addr()
	l.signal(l.pid, syscall.SIGUSR2)
	l.await(l.pid, "HandoverStep", "switch ")
	l.await(l.pid, "PhaseChanged", "paused")
	next := l.await(0, "Listening", "(inherited)").pid

	want := []string{
		"lost http1 request of " + unfinished(t, addr, "/orders?token=secret") + ": POST /orders ",
		"lost http1 request of " + unfinished(t, addr, "/files") + ": POST /files ",
	}
	idle, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	fmt.Fprint(idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(idle), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("answer %+v, %v", resp, err)
	}
	me := idle.LocalAddr().String()
	want = append(want, "lost connections without a request: "+me)

	l.signal(next, syscall.SIGKILL)
	text := l.await(l.pid, "HandoverEnded", "rolled back").text
	lines := strings.Split(text, "\n")[1:]
	for i, line := range lines {
		line, _, _ = strings.Cut(line, "(")
		lines[i] = strings.TrimLeft(line, " ")
		if lines[i] == "lost http1 request of "+me+": GET / " {
			lines[i] = "lost connections without a request: " + me // its answer was on its way when the process died
		}
	}
	slices.Sort(lines)
	slices.Sort(want)
	if !slices.Equal(lines, want) {
		t.Errorf("named %q\nwant %q", text, want)
	}
	l.await(l.pid, "PhaseChanged", "ready")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if pid, err := io.ReadAll(resp.Body); err != nil || string(pid) != fmt.Sprint(l.pid) {
		t.Errorf("process %s answers, not %d", pid, l.pid)
	}
}

// TestSuccessorDiesLater: one that was given up, and is killed while it drains,
// is accounted for when it is gone.
func TestSuccessorDiesLater(t *testing.T) {
	l := spawn(t, "web", nil, envOptions+"=probation=60s")
	addr := l.addr()
	l.next("sick when told")
	l.signal(l.pid, syscall.SIGUSR2)
	l.await(l.pid, "HandoverStep", "switch ")
	l.await(l.pid, "PhaseChanged", "paused")
	next := l.await(0, "Listening", "(inherited)").pid
	me := unfinished(t, addr, "/orders")
	l.next("sick")
	if text := l.await(l.pid, "HandoverEnded", "rolled back").text; strings.Contains(text, "lost") {
		t.Errorf("told too early: %s", text)
	}
	l.await(next, "PhaseChanged", "draining")
	l.signal(next, syscall.SIGKILL)
	text := l.await(l.pid, "SuccessorLost", fmt.Sprint(next)).text
	if !strings.Contains(text, "lost http1 request of "+me+": POST /orders ") {
		t.Errorf("named %q, not %s", text, me)
	}
}

// unfinished begins a request and returns its client's address when its handler
// reads the body, which makes the server ask for it.
func unfinished(t *testing.T, addr, path string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n", path)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.Contains(line, "100") {
		t.Fatalf("answer %q, %v", line, err)
	}
	io.WriteString(c, "half")
	return c.LocalAddr().String()
}

// BenchmarkJournal is what net/http calls for a request, with the journal off
// and on, in turns: the machine may be busy with something else.
//
//	off-ns/req  with none
//	on-ns/req   with one
func BenchmarkJournal(b *testing.B) {
	for _, major := range []int{1, 2} {
		b.Run(fmt.Sprintf("http=%d", major), func(b *testing.B) {
			f, err := handover.NewJournal()
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			j, err := handover.OpenJournal(f)
			if err != nil {
				b.Fatal(err)
			}
			off, on := newBenchServer(b, nil, major), newBenchServer(b, j, major)
			best := [2]time.Duration{time.Hour, time.Hour}
			var sum [2]time.Duration
			const calls = 1000
			for b.Loop() {
				for i, s := range []*benchServer{off, on} {
					began := time.Now()
					for range calls {
						s.request()
					}
					took := time.Since(began)
					best[i], sum[i] = min(best[i], took), sum[i]+took
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(best[0])/calls, "off-ns/req")
			b.ReportMetric(float64(best[1])/calls, "on-ns/req")
			b.ReportMetric(testing.AllocsPerRun(100, off.request), "off-allocs/req")
			b.ReportMetric(testing.AllocsPerRun(100, on.request), "on-allocs/req")
		})
	}
}

// benchServer is one connection of a server, with net/http left out.
type benchServer struct {
	srv *http.Server
	c   net.Conn
	r   *http.Request
}

func newBenchServer(b *testing.B, j conns.Journal, major int) *benchServer {
	got := make(chan net.Conn, 1)
	var once sync.Once
	s := &benchServer{srv: &http.Server{
		Handler:   http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		ConnState: func(c net.Conn, _ http.ConnState) { once.Do(func() { got <- c }) },
	}}
	h := conns.NewHTTP(s.srv)
	if j != nil {
		h.Record(j)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan struct{})
	go func() { h.Serve(ln); close(served) }()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	s.c = <-got
	b.Cleanup(func() { client.Close(); s.srv.Close(); <-served })
	s.r, err = http.NewRequestWithContext(s.srv.ConnContext(b.Context(), s.c), http.MethodGet, "http://x/api/products/17", nil)
	if err != nil {
		b.Fatal(err)
	}
	s.r.ProtoMajor = major
	return s
}

func (s *benchServer) request() {
	if s.r.ProtoMajor == 1 {
		s.srv.ConnState(s.c, http.StateActive)
	}
	s.srv.Handler.ServeHTTP(nil, s.r)
	if s.r.ProtoMajor == 1 {
		s.srv.ConnState(s.c, http.StateIdle)
	}
}
