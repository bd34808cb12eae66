package conns

import (
	"bytes"
	"unicode/utf8"
)

// maxID is the longest id of an event that moves.
const maxID = 1 << 10

// eventScanner follows an event stream (WHATWG HTML, section 9.2.6) for two things:
// where nothing of an event has been said yet, and which id a client would send as
// Last-Event-ID. The zero value is before the stream.
type eventScanner struct {
	// lastID is the id that a client knows since the last empty line; its bytes
	// change when more is scanned. hasID is false if there was none, or it was empty:
	// a client sends no Last-Event-ID then. Both may be set beforehand, for a client
	// that brings its id along: they last until the stream says another.
	lastID []byte
	hasID  bool

	step  eventStep
	bom   uint8  // matched of byteOrderMark
	cr    bool   // an LF that follows ends no other line
	begun bool   // a field was seen since the last empty line
	said  bool   // an id was among them
	id    []byte // that id
}

type eventStep uint8

const (
	eventMark  eventStep = iota // where byteOrderMark may be
	eventLine                   // where a line begins
	eventI                      // behind an i
	eventID                     // behind id
	eventColon                  // behind the colon: one space does not count
	eventValue                  // in the value of an id
	eventSkip                   // in the rest of a line
)

const byteOrderMark = "\xEF\xBB\xBF"

// between reports whether the stream is at a place where a client that got all this
// from one connection may get the rest from another.
func (s *eventScanner) between() bool {
	return !s.begun && (s.step == eventLine || s.step == eventMark && s.bom == 0)
}

// scan reads p. It reports false when it sees an id that no Last-Event-ID can carry
// or that is too long; the stream is not to be scanned any further then.
func (s *eventScanner) scan(p []byte) bool {
	for i := 0; i < len(p); i++ {
		if s.step == eventSkip {
			if i += lineLen(p[i:]); i == len(p) {
				return true
			}
		}
		c := p[i]
		switch {
		case c == '\n' && s.cr:
			s.cr = false
		case c == '\n', c == '\r':
			s.cr = c == '\r'
			if !s.end() {
				return false
			}
		default:
			s.cr = false
			if !s.inLine(c) {
				return false
			}
		}
	}
	return true
}

// lineLen is the length of p up to CR or LF. It looks for both in one window after
// the other, so that a stream that uses only one of them costs no more.
func lineLen(p []byte) int {
	const window = 512
	for n := 0; n < len(p); n += window {
		w := p[n:min(n+window, len(p))]
		i := bytes.IndexByte(w, '\n')
		if i >= 0 {
			w = w[:i]
		}
		if j := bytes.IndexByte(w, '\r'); j >= 0 {
			return n + j
		}
		if i >= 0 {
			return n + i
		}
	}
	return len(p)
}

// inLine reads a byte that ends no line.
func (s *eventScanner) inLine(c byte) bool {
	switch s.step {
	case eventMark:
		if c == byteOrderMark[s.bom] {
			if s.bom++; int(s.bom) == len(byteOrderMark) {
				s.step = eventLine
			}
			return true
		}
		s.step = eventLine
		if s.bom > 0 { // the line began with something else
			s.begun, s.step = true, eventSkip
			return true
		}
		fallthrough
	case eventLine:
		s.step = eventSkip
		if c == 'i' {
			s.step = eventI
		}
		s.begun = s.begun || c != ':' // a comment says nothing
	case eventI:
		s.step = eventSkip
		if c == 'd' {
			s.step = eventID
		}
	case eventID:
		s.step = eventSkip
		if c == ':' {
			s.step, s.id = eventColon, s.id[:0]
		}
	case eventColon:
		if s.step = eventValue; c == ' ' {
			return true
		}
		fallthrough
	case eventValue:
		s.id = append(s.id, c)
		return len(s.id) <= maxID && (c >= ' ' || c == '\t') && c != 0x7f // RFC 9110, section 5.5
	}
	return true
}

// end ends a line.
func (s *eventScanner) end() bool {
	step := s.step
	s.step = eventLine
	switch step {
	case eventMark:
		s.begun = s.bom > 0 // a part of the mark is a field's name
	case eventID: // a name without a colon has an empty value
		s.said, s.id = true, s.id[:0]
	case eventColon, eventValue:
		s.said = true
		return utf8.Valid(s.id)
	case eventLine:
		if s.said {
			s.lastID = append(s.lastID[:0], s.id...)
			s.hasID = len(s.lastID) > 0
		}
		s.begun, s.said = false, false
	}
	return true
}
