package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/segue-go/segue/client"
)

// watch shows the status whenever something has happened, and on a terminal once
// a second, since ages are told.
func (c *cli) watch(ctx context.Context, s *client.Client, service string) error {
	ctx, release := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer release()
	changed, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- follow(ctx, s, service, func(client.Event) {
			select {
			case changed <- struct{}{}:
			default: // a look that is due will see this too
			}
		})
	}()
	var tick <-chan time.Time
	show := func(all client.Overview) { c.writeJSON(all) }
	if !c.json {
		b := newBoard(c.stdout)
		defer b.close()
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		tick = ticker.C
		st := newStyle(true)
		show = func(all client.Overview) { b.draw(statusLines(st, all, "", time.Now())) }
	}
	for {
		select {
		case <-changed:
		case <-tick:
		case err := <-ended:
			return err
		}
		if all, err := s.Overview(ctx); err == nil { // or follow learns why not
			all.Services = all.Of(service)
			show(all)
		}
	}
}

// board is a terminal that shows one thing, which changes. It has a screen of its
// own, so that what was on the terminal before is there again after it.
type board struct {
	w      io.Writer
	height func() int
	last   []string
}

// The private modes of xterm(1): 1049 the other screen, 7 lines that wrap, 25 the
// cursor (https://invisible-island.net/xterm/ctlseqs/ctlseqs.html).
func newBoard(w io.Writer) *board {
	io.WriteString(w, "\x1b[?1049h\x1b[?7l\x1b[?25l")
	return &board{w: w, height: func() int { return terminalHeight(w) }}
}

// draw overwrites what is there, line by line, which does not flicker.
func (b *board) draw(lines []string) {
	b.last = lines
	if most := b.height(); len(lines) > most {
		lines = lines[:most]
	}
	fmt.Fprintf(b.w, "\x1b[H%s\x1b[K\x1b[J", strings.Join(lines, "\x1b[K\n"))
}

// close leaves the last state on the terminal.
func (b *board) close() {
	io.WriteString(b.w, "\x1b[?25h\x1b[?7h\x1b[?1049l")
	for _, l := range b.last {
		fmt.Fprintln(b.w, l)
	}
}
