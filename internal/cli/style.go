package cli

import (
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"
)

// style is how things look: with marks and colours on a terminal, in ASCII
// anywhere else.
type style struct {
	ok, bad, going, arrow string
	colour                bool
}

func newStyle(terminal bool) style {
	if !terminal {
		return style{ok: "ok", bad: "failed", going: "...", arrow: "->"}
	}
	// https://no-color.org
	return style{ok: "✓", bad: "✗", going: "…", arrow: "→", colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// paint colours s; code is an SGR parameter (ECMA-48 8.3.117).
func (s style) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) green(text string) string { return s.paint("32", text) }
func (s style) red(text string) string   { return s.paint("31", text) }
func (s style) bold(text string) string  { return s.paint("1", text) }

// row is one step: mark, of which service ("" if that is clear), name, duration, and
// what there is to say.
func (s style) row(mark, service, name string, took time.Duration, note string) string {
	width := max(len([]rune(s.ok)), len([]rune(s.bad)))
	padded := mark + strings.Repeat(" ", width-len([]rune(mark)))
	switch mark {
	case s.ok:
		padded = s.green(padded)
	case s.bad:
		padded = s.red(padded)
	}
	return strings.TrimRight(fmt.Sprintf("  %s %s%-9s %7s  %s", padded, service, name, short(took), note), " ")
}

// short is a duration as people say it.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// clean makes text from outside fit to be shown: what a client or a service has
// written must not steer the terminal. Line ends stay.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// count is "1 crash", "2 crashes".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
