package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"math"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segue-go/segue/handover"
)

func main() {
	if os.Getenv(envService) != "" {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, "service:", err)
			os.Exit(1)
		}
		return
	}
	o := options{}
	flag.IntVar(&o.conns, "conns", 9500, "WebSockets at a time; the hard limit of open files may allow fewer")
	flag.IntVar(&o.restarts, "restarts", 100, "restarts of the WebSockets; the other rows take a fifth of that")
	flag.StringVar(&o.only, "only", "", "one of: websocket, total, idle, tls, events, http2, undeclared, killed (default: all)")
	flag.StringVar(&o.out, "out", "", "file for the report, beside the terminal")
	flag.Parse()
	if err := o.run(); err != nil {
		fmt.Fprintln(os.Stderr, "move:", err)
		os.Exit(1)
	}
}

type options struct {
	conns, restarts int
	only, out       string
	rows            []row
}

// row is one line of the report.
type row struct{ goal, target, figure, verdict string }

func (o *options) row(goal, target string, met bool, figure string, args ...any) {
	verdict := "met"
	switch {
	case target == "":
		verdict = "-"
	case !met:
		verdict = "MISSED"
	}
	r := row{goal, target, fmt.Sprintf(figure, args...), verdict}
	o.rows = append(o.rows, r)
	fmt.Fprintf(os.Stderr, "  %-40s %-28s %-60s %s\n", r.goal, r.target, r.figure, r.verdict)
}

// reserve is what a process needs besides its clients.
const reserve = 300

func (o *options) run() error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	lim.Cur = lim.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	if most := int(min(lim.Max, math.MaxInt32)) - reserve; o.conns > most {
		fmt.Fprintf(os.Stderr, "%d connections in place of %d: the hard limit of open files is %d\n", most, o.conns, lim.Max)
		o.conns = most
	}
	for _, s := range []struct {
		name string
		run  func() error
	}{
		{"websocket", func() error { return o.websockets(o.conns, o.restarts, false) }},
		{"total", o.total},
		{"idle", o.idle},
		{"tls", func() error { return o.websockets(min(o.conns, 5300), max(1, o.restarts/5), true) }},
		{"events", o.events},
		{"http2", o.http2},
		{"undeclared", o.undeclared},
		{"killed", o.killed},
	} {
		if o.only != "" && o.only != s.name {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", s.name)
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return o.write()
}

func (o *options) write() error {
	text := fmt.Sprintf("%s, %s/%s, %d processors\n\n| goal | target | figure | verdict |\n|---|---|---|---|\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, r := range o.rows {
		text += fmt.Sprintf("| %s | %s | %s | %s |\n", r.goal, r.target, r.figure, r.verdict)
	}
	fmt.Print(text)
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, []byte(text), 0o644)
}

var libraries = []string{"gorilla", "coder", "gobwas", "gws"}

func library(prefix string) func(int) string {
	return func(i int) string { return prefix + libraries[i%len(libraries)] }
}

// websockets: every client sends a message a second, over many restarts.
func (o *options) websockets(n, restarts int, secure bool) error {
	var env []string
	label := "WebSockets"
	if secure {
		dir, err := certificate()
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		env, label = append(env, envTLS+"="+dir), "wss, TLS 1.3"
	}
	l, err := begin(env...)
	if err != nil {
		return err
	}
	defer l.end()
	f := newFleet(l.addr, secure, time.Second)
	if err := f.launch(n, library("/ws/"), f.echo); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // a beat and more of everybody, before the first restart
	var took, gone, pauses, steady []time.Duration
	moved := 0
	for i := range restarts {
		if i == 0 {
			steady = f.during(time.Now().Add(-time.Second), time.Now())
		}
		r, err := l.restart(context.Background())
		if err != nil {
			return fmt.Errorf("restart %d: %w", i+1, err)
		}
		if r.report.Outcome != "done" {
			return fmt.Errorf("restart %d was %s: %s", i+1, r.report.Outcome, r.report.Reason)
		}
		moved += r.move.Moved["websocket"]
		took, gone = append(took, r.move.MoveTook), append(gone, r.gone)
		time.Sleep(1200 * time.Millisecond) // what was due during the move has been answered
		pauses = append(pauses, f.during(r.began, r.ended)...)
		if i == 0 || (i+1)%5 == 0 {
			fmt.Fprintf(os.Stderr, "  restart %d of %d: %d moved in %v, held for %v at most, gone after %v, closed so far %d\n", i+1, restarts, r.move.Moved["websocket"], ms(r.move.MoveTook), ms(r.move.LongestPause), r.gone.Round(time.Millisecond), f.closed.Load())
		}
	}
	f.halt()
	f.printFaults()
	bad := f.lost.Load() + f.disordered.Load() + f.closed.Load()
	o.row(fmt.Sprintf("%s kept, %d over %d restarts", label, n, restarts), "100 %, 0 lost, duplicated, reordered", bad == 0 && moved == n*restarts,
		"%d of %d moves, %d messages, %d lost, %d out of order, %d closed", moved, n*restarts, f.messages.Load(), f.lost.Load(), f.disordered.Load(), f.closed.Load())
	if !secure {
		o.row(fmt.Sprintf("Total move of %d, with replay, a message a second each", n), "", true, "median %v (%v to %v)", ms(quantile(took, 0.5)), ms(slices.Min(took)), ms(slices.Max(took)))
	}
	o.row("Added pause for one client, "+label+", a message a second each", "p99 <= 10 ms, max <= 50 ms", quantile(pauses, 0.99) <= 10*time.Millisecond && quantile(pauses, 1) <= 50*time.Millisecond,
		"p50 %v, p99 %v, max %v of %d messages due during a move; otherwise p99 %v", ms(quantile(pauses, 0.5)), ms(quantile(pauses, 0.99)), ms(quantile(pauses, 1)), len(pauses), ms(quantile(steady, 0.99)))
	o.row("Old process gone, "+label, "<= 2 s", slices.Max(gone) <= 2*time.Second, "median %v, max %v", ms(quantile(gone, 0.5)), ms(slices.Max(gone)))
	return nil
}

// idle: keep-alive connections that ask once a second.
func (o *options) idle() error {
	for _, secure := range []bool{false, true} {
		var env []string
		label := "HTTP/1.1"
		if secure {
			dir, err := certificate()
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			env, label = append(env, envTLS+"="+dir), "HTTPS, TLS 1.3"
		}
		if err := o.keepAlive(label, secure, env); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) keepAlive(label string, secure bool, env []string) error {
	l, err := begin(env...)
	if err != nil {
		return err
	}
	defer l.end()
	n, restarts := o.conns, max(1, o.restarts/5)
	if secure {
		n = min(n, 5300)
	}
	f := newFleet(l.addr, secure, time.Second)
	if err := f.launch(n, func(int) string { return "" }, f.ask); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	for i := range restarts {
		if _, err := l.restart(context.Background()); err != nil {
			return fmt.Errorf("restart %d: %w", i+1, err)
		}
		time.Sleep(1200 * time.Millisecond)
	}
	f.halt()
	f.printFaults()
	o.row(fmt.Sprintf("Keep-alive %s, %d over %d restarts", label, n, restarts), "0 errors, 0 reconnects, 0 Connection: close", f.lost.Load()+f.reconnects.Load()+f.closed.Load() == 0,
		"%d requests, %d lost, %d reconnects or Connection: close", f.messages.Load(), f.lost.Load(), f.reconnects.Load())
	return nil
}

// total is how long a move takes, of clients that say something every ten seconds:
// with a message a second each, 9500 of them keep a processor busy by themselves.
func (o *options) total() error {
	const interval = 10 * time.Second
	restarts := max(1, o.restarts/10)
	for _, kind := range []string{"raw", "replay"} {
		l, err := begin()
		if err != nil {
			return err
		}
		f := newFleet(l.addr, false, interval)
		path, talk := func(int) string { return "" }, f.ask
		if kind == "replay" {
			path, talk = library("/ws/"), f.echo
		}
		if err := f.launch(o.conns, path, talk); err != nil {
			l.end()
			return err
		}
		time.Sleep(interval)
		var took, pauses, steady []time.Duration
		for i := range restarts {
			steady = append(steady, f.during(time.Time{}, time.Now())...)
			r, err := l.restart(context.Background())
			if err != nil {
				l.end()
				return fmt.Errorf("restart %d: %w", i+1, err)
			}
			took = append(took, r.ended.Sub(r.began))
			time.Sleep(time.Second)
			pauses = append(pauses, f.during(r.began, r.ended)...)
			time.Sleep(2 * time.Second)
		}
		f.halt()
		f.printFaults()
		l.end()
		most := 250 * time.Millisecond
		if kind == "replay" {
			most = 700 * time.Millisecond
		}
		o.row(fmt.Sprintf("Total move of %d, %s", o.conns, kind), "<= "+most.String(), quantile(took, 0.5) <= most, "median %v (%v to %v) of %d", ms(quantile(took, 0.5)), ms(slices.Min(took)), ms(slices.Max(took)), restarts)
		o.row("Added pause for one client, "+kind+", a message in 10 s each", "p99 <= 10 ms, max <= 50 ms", quantile(pauses, 0.99) <= 10*time.Millisecond && quantile(pauses, 1) <= 50*time.Millisecond,
			"p50 %v, p99 %v, max %v of %d messages due during a move; otherwise p99 %v", ms(quantile(pauses, 0.5)), ms(quantile(pauses, 0.99)), ms(quantile(pauses, 1)), len(pauses), ms(quantile(steady, 0.99)))
	}
	return nil
}

// events: streams with ids, ten events a second each.
func (o *options) events() error {
	l, err := begin()
	if err != nil {
		return err
	}
	defer l.end()
	n, restarts := min(o.conns, 1000), max(1, o.restarts/5)
	f := newFleet(l.addr, false, time.Second)
	if err := f.launch(n, func(int) string { return "/events" }, f.follow); err != nil {
		return err
	}
	time.Sleep(time.Second)
	for i := range restarts {
		if _, err := l.restart(context.Background()); err != nil {
			return fmt.Errorf("restart %d: %w", i+1, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
	f.halt()
	f.printFaults()
	o.row(fmt.Sprintf("SSE with ids, %d over %d restarts", n, restarts), "0 reconnects, ids contiguous", f.reconnects.Load()+f.disordered.Load() == 0,
		"%d events, %d reconnects, %d gaps", f.messages.Load(), f.reconnects.Load(), f.disordered.Load())
	return nil
}

// http2: clients that honour GOAWAY and nothing else, Go's own.
func (o *options) http2() error {
	dir, err := certificate()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := begin(envTLS + "=" + dir)
	if err != nil {
		return err
	}
	defer l.end()
	const n = 64
	restarts := max(1, o.restarts/5)
	f := newFleet(l.addr, true, 20*time.Millisecond)
	for range n {
		t := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		f.wg.Go(func() {
			defer t.CloseIdleConnections()
			f.call(&http.Client{Transport: t}, f.beat())
		})
	}
	time.Sleep(time.Second)
	for i := range restarts {
		if _, err := l.restart(context.Background()); err != nil {
			return fmt.Errorf("restart %d: %w", i+1, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
	f.halt()
	f.printFaults()
	o.row(fmt.Sprintf("HTTP/2, %d clients over %d restarts", n, restarts), "0 failed calls", f.lost.Load() == 0 && f.messages.Load() > 0, "%d calls, %d failed", f.messages.Load(), f.lost.Load())
	return nil
}

// undeclared: WebSockets that stay are told to come back, at a pace.
func (o *options) undeclared() error {
	const n, pace = 1000, 200.0
	l, err := begin(fmt.Sprintf("%s=%g", envPace, pace))
	if err != nil {
		return err
	}
	defer l.end()
	f := newFleet(l.addr, false, time.Second)
	if err := f.launch(n, library("/plain/"), f.listen); err != nil {
		return err
	}
	if _, err := l.restart(context.Background()); err != nil {
		return err
	}
	f.halt()
	f.printFaults()
	slices.SortFunc(f.goodbyes, func(a, b time.Time) int { return a.Compare(b) })
	rate := 0.0
	if len(f.goodbyes) > 1 {
		rate = float64(len(f.goodbyes)-1) / f.goodbyes[len(f.goodbyes)-1].Sub(f.goodbyes[0]).Seconds()
	}
	o.row(fmt.Sprintf("Undeclared WebSockets, %d", n), "100 % told with 1012", f.told.Load() == n && f.closed.Load() == 0, "%d told, %d closed otherwise", f.told.Load(), f.closed.Load())
	o.row("Paced close", "within 20 % of the configured rate", math.Abs(rate/pace-1) <= 0.2, "%.0f a second, configured %.0f", rate, pace)
	return nil
}

var killPoints = []int{1, 5, 9, 100, 1000}

// killed: the new version dies in the middle of the move, in a replay. What it
// served by then dies with it; the restart is rolled back, and nobody else notices.
func (o *options) killed() error {
	n := min(o.conns, 2000)
	points := killPoints
	var closed, lost, moved int64
	rolledBack := 0
	for _, at := range points {
		l, err := begin(fmt.Sprintf("%s=2:%d", envDie, at))
		if err != nil {
			return err
		}
		f := newFleet(l.addr, false, time.Second)
		if err := f.launch(n, library("/ws/"), f.echo); err != nil {
			l.end()
			return err
		}
		r, err := l.restart(context.Background())
		if err != nil {
			l.end()
			return fmt.Errorf("killed in replay %d: %w", at, err)
		}
		if r.report.Outcome == handover.RolledBack && r.report.Failed == handover.StepMove {
			rolledBack++
		}
		time.Sleep(1200 * time.Millisecond) // everybody has had a turn
		moved += int64(len(r.report.Lost) + r.report.LostMore)
		f.halt()
		f.printFaults()
		closed += f.closed.Load()
		lost += f.lost.Load()
		l.end()
	}
	o.row(fmt.Sprintf("New version killed before served, %d x %d", len(points), n), "0 closed but those that it had taken over", closed <= moved && rolledBack == len(points),
		"%d of %d rolled back; it had taken over %d, %d closed, %d lost a message", rolledBack, len(points), moved, closed, lost)
	return nil
}

func (f *fleet) printFaults() {
	f.faults.Range(func(k, v any) bool {
		fmt.Fprintf(os.Stderr, "  fault: %v × %d\n", k, v.(*atomic.Int64).Load())
		return true
	})
}

func quantile(ds []time.Duration, q float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(ds))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func ms(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
