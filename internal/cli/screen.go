package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// redraw is how often a line that tells the time is drawn anew.
const redraw = 100 * time.Millisecond

// screen is where lines go. On a terminal it can have one line at the bottom
// that changes, above which everything else appears. Safe for concurrent use; it
// does nothing while there is no such line.
type screen struct {
	w        io.Writer
	terminal bool
	style    style
	prefix   string // before each line of print
	width    func() int

	mu    sync.Mutex
	live  func() string // nil: there is no live line
	drawn bool
	timer *time.Timer
}

func newScreen(w io.Writer, prefix string) *screen {
	t := isTerminal(w)
	return &screen{w: w, terminal: t, style: newStyle(t), prefix: prefix, width: func() int { return terminalWidth(w) }}
}

// print writes lines that stay. One may have several lines in it.
func (s *screen) print(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	for _, l := range lines {
		fmt.Fprintln(s.w, s.prefix+strings.ReplaceAll(l, "\n", "\n"+s.prefix))
	}
	s.draw()
}

// show makes line the live one, drawn anew as time passes; nil is none. Where
// there is no terminal nothing is shown.
func (s *screen) show(line func() string) {
	if !s.terminal {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.live = line
	s.draw()
	if line != nil && s.timer == nil {
		s.timer = time.AfterFunc(redraw, s.tick)
	}
}

// tick draws again, and stops when there is nothing to draw.
func (s *screen) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		s.timer = nil
		return
	}
	s.erase()
	s.draw()
	s.timer.Reset(redraw)
}

// over returns a writer to another stream on the same terminal, whose lines
// appear above the live one. Each write must be whole lines.
func (s *screen) over(w io.Writer) io.Writer {
	if !s.terminal || !isTerminal(w) {
		return w
	}
	return writerFunc(func(p []byte) (int, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.erase()
		n, err := w.Write(p)
		s.draw()
		return n, err
	})
}

// close removes the live line.
func (s *screen) close() { s.show(nil) }

// erase: to the first column, then to the end of the line (ECMA-48 8.3.41, EL).
func (s *screen) erase() {
	if s.drawn {
		io.WriteString(s.w, "\r\x1b[K")
		s.drawn = false
	}
}

// draw cuts the line at the edge: one that wraps could not be erased.
func (s *screen) draw() {
	if s.live == nil {
		return
	}
	text := []rune(s.prefix + s.live())
	if edge := s.width() - 1; len(text) > edge {
		text = text[:edge]
	}
	io.WriteString(s.w, string(text))
	s.drawn = true
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
