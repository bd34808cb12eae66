package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handover"
)

// settled is when every client that has a message a second has had an answer.
const settled = 1200 * time.Millisecond

var libraries = []string{"gorilla", "coder", "gobwas", "gws"}

func library(prefix string) func(int) string {
	return func(i int) string { return prefix + libraries[i%len(libraries)] }
}

// websockets: every client sends a message a second, over many restarts.
func (o *options) websockets(n, restarts int, secure bool) error {
	label := "WebSockets"
	if secure {
		label = "wss, TLS 1.3"
	}
	l, err := begin(secure)
	if err != nil {
		return err
	}
	defer l.end()
	f := newFleet(l.addr, secure, time.Second)
	if err := f.launch(n, library("/ws/"), f.echo); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // a beat and more of everybody, before the first restart
	steady := f.during(time.Now().Add(-time.Second), time.Now())
	var took, gone, pauses []time.Duration
	moved := 0
	if err := l.restarts(restarts, settled, func(i int, r restarted) {
		moved += r.move.Moved["websocket"]
		took, gone = append(took, r.move.MoveTook), append(gone, r.gone)
		pauses = append(pauses, f.during(r.began, r.ended)...)
		if i == 0 || (i+1)%5 == 0 {
			fmt.Fprintf(os.Stderr, "  restart %d of %d: %d moved in %v, held for %v at most, gone after %v, closed so far %d\n", i+1, restarts, r.move.Moved["websocket"], ms(r.move.MoveTook), ms(r.move.LongestPause), r.gone.Round(time.Millisecond), f.closed.Load())
		}
	}); err != nil {
		return err
	}
	f.halt()
	f.printFaults()
	bad := f.lost.Load() + f.disordered.Load() + f.closed.Load()
	o.row(fmt.Sprintf("%s kept, %d over %d restarts", label, n, restarts), "100 %, 0 lost, duplicated, reordered", bad == 0 && moved == n*restarts,
		"%d of %d moves, %d messages, %d lost, %d out of order, %d closed", moved, n*restarts, f.messages.Load(), f.lost.Load(), f.disordered.Load(), f.closed.Load())
	if !secure {
		o.row(fmt.Sprintf("Total move of %d, with replay, a message a second each", n), "", true, "median %v (%v to %v)", ms(quantile(took, 0.5)), ms(slices.Min(took)), ms(slices.Max(took)))
	}
	o.pause(label+", a message a second each", pauses, steady)
	o.row("Old process gone, "+label, "<= 2 s", slices.Max(gone) <= 2*time.Second, "median %v, max %v", ms(quantile(gone, 0.5)), ms(slices.Max(gone)))
	return nil
}

// idle: keep-alive connections that ask once a second.
func (o *options) idle() error {
	return errors.Join(o.keepAlive("HTTP/1.1", false, o.conns), o.keepAlive("HTTPS, TLS 1.3", true, min(o.conns, 5300)))
}

func (o *options) keepAlive(label string, secure bool, n int) error {
	l, err := begin(secure)
	if err != nil {
		return err
	}
	defer l.end()
	restarts := max(1, o.restarts/5)
	f := newFleet(l.addr, secure, time.Second)
	if err := f.launch(n, func(int) string { return "" }, f.ask); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	moved := 0
	if err := l.restarts(restarts, settled, func(_ int, r restarted) { moved += r.move.Moved["http1"] }); err != nil {
		return err
	}
	f.halt()
	f.printFaults()
	o.row(fmt.Sprintf("Keep-alive %s, %d over %d restarts", label, n, restarts), "0 errors, 0 reconnects, 0 Connection: close",
		f.lost.Load()+f.reconnects.Load()+f.closed.Load() == 0 && moved == n*restarts,
		"%d of %d moves, %d requests, %d lost, %d reconnects or Connection: close", moved, n*restarts, f.messages.Load(), f.lost.Load(), f.reconnects.Load())
	return nil
}

// total is how long a move takes, of clients that say something every ten seconds:
// with a message a second each, 9500 of them keep a processor busy by themselves.
func (o *options) total() error {
	const interval = 10 * time.Second
	restarts := max(1, o.restarts/10)
	for _, kind := range []string{"raw", "replay"} {
		if err := o.totalOf(kind, restarts, interval); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) totalOf(kind string, restarts int, interval time.Duration) error {
	l, err := begin(false)
	if err != nil {
		return err
	}
	defer l.end()
	f := newFleet(l.addr, false, interval)
	path, talk, most := func(int) string { return "" }, f.ask, 250*time.Millisecond
	if kind == "replay" {
		path, talk, most = library("/ws/"), f.echo, 700*time.Millisecond
	}
	if err := f.launch(o.conns, path, talk); err != nil {
		return err
	}
	time.Sleep(interval)
	steady := f.during(time.Time{}, time.Now())
	var took, pauses []time.Duration
	moved := 0
	if err := l.restarts(restarts, 3*time.Second, func(_ int, r restarted) {
		for _, n := range r.move.Moved {
			moved += n
		}
		took = append(took, r.ended.Sub(r.began))
		pauses = append(pauses, f.during(r.began, r.ended)...)
	}); err != nil {
		return err
	}
	f.halt()
	f.printFaults()
	o.row(fmt.Sprintf("Total move of %d, %s", o.conns, kind), "<= "+most.String(), quantile(took, 0.5) <= most && moved == o.conns*restarts,
		"median %v (%v to %v) of %d", ms(quantile(took, 0.5)), ms(slices.Min(took)), ms(slices.Max(took)), restarts)
	o.pause(kind+", a message in 10 s each", pauses, steady)
	return nil
}

// pause is the row about what clients notice.
func (o *options) pause(label string, during, otherwise []time.Duration) {
	p99, most := quantile(during, 0.99), quantile(during, 1)
	o.row("Added pause for one client, "+label, "p99 <= 10 ms, max <= 50 ms", p99 <= 10*time.Millisecond && most <= 50*time.Millisecond,
		"p50 %v, p99 %v, max %v of %d messages due during a move; otherwise p99 %v", ms(quantile(during, 0.5)), ms(p99), ms(most), len(during), ms(quantile(otherwise, 0.99)))
}

// events: streams with ids, ten events a second each.
func (o *options) events() error {
	l, err := begin(false)
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
	moved := 0
	if err := l.restarts(restarts, 300*time.Millisecond, func(_ int, r restarted) { moved += r.move.Moved["sse"] }); err != nil {
		return err
	}
	f.halt()
	f.printFaults()
	o.row(fmt.Sprintf("SSE with ids, %d over %d restarts", n, restarts), "0 reconnects, ids contiguous", f.reconnects.Load()+f.disordered.Load() == 0 && moved == n*restarts,
		"%d of %d moves, %d events, %d reconnects, %d gaps", moved, n*restarts, f.messages.Load(), f.reconnects.Load(), f.disordered.Load())
	return nil
}

// http2: clients that honour GOAWAY and nothing else, Go's own.
func (o *options) http2() error {
	l, err := begin(true)
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
	if err := l.restarts(restarts, 300*time.Millisecond, func(int, restarted) {}); err != nil {
		return err
	}
	f.halt()
	f.printFaults()
	o.row(fmt.Sprintf("HTTP/2, %d clients over %d restarts", n, restarts), "0 failed calls", f.lost.Load() == 0 && f.messages.Load() > 0, "%d calls, %d failed", f.messages.Load(), f.lost.Load())
	return nil
}

// undeclared: WebSockets that stay are told to come back, at a pace.
func (o *options) undeclared() error {
	const n, pace = 1000, 200.0
	l, err := begin(false, fmt.Sprintf("%s=%g", envPace, pace))
	if err != nil {
		return err
	}
	defer l.end()
	f := newFleet(l.addr, false, time.Second)
	if err := f.launch(n, library("/plain/"), f.listen); err != nil {
		return err
	}
	if err := l.restarts(1, 0, func(int, restarted) {}); err != nil {
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

// killed: the new version dies in the middle of the move, in a replay. What it
// served by then dies with it; the restart is rolled back, and nobody else notices.
func (o *options) killed() error {
	n := min(o.conns, 2000)
	points := []int{1, 5, 9, 100, 1000}
	var closed, lost, moved int64
	rolledBack := 0
	for _, at := range points {
		l, err := begin(false, fmt.Sprintf("%s=2:%d", envDie, at))
		if err != nil {
			return err
		}
		f := newFleet(l.addr, false, time.Second)
		if err := f.launch(n, library("/ws/"), f.echo); err != nil {
			l.end()
			return err
		}
		r, err := l.restart()
		if err != nil {
			l.end()
			return fmt.Errorf("killed in replay %d: %w", at, err)
		}
		if r.report.Outcome == handover.RolledBack && r.report.Failed == handover.StepMove {
			rolledBack++
		}
		time.Sleep(settled) // everybody has had a turn
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
