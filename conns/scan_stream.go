package conns

import (
	"bytes"
	"strconv"
	"strings"
)

// streamScanner follows what an HTTP/1.1 response writes, as long as it is a stream
// of server-sent events in the chunked coding. The zero value is before the
// response, or before informational ones.
type streamScanner struct {
	head     streamHead // all of it, when headDone
	headDone bool       // true also when there is no head to wait for
	done     bool       // the last chunk, of size 0, was written
	bad      bool       // another response, or one that is not understood: it is never cut

	line  []byte // of the head, until it is complete
	size  int    // of the head
	chunk chunkScanner
	eventScanner
}

// streamHead is what matters of a response head.
type streamHead struct {
	status      int
	eventStream bool // Content-Type: text/event-stream
	chunked     bool // Transfer-Encoding: chunked
	encoded     bool // a Content-Encoding other than identity
	odd         bool // framed otherwise, or malformed
	typed       bool // Content-Type was seen
}

// maxStreamHead bounds the heads before a stream.
const maxStreamHead = 64 << 10

// lastChunk ends a chunked body.
const lastChunk = "0\r\n\r\n"

// eventChunk appends a chunk with event in it, or nothing for no event: a chunk of
// size 0 would be the last.
func eventChunk(dst []byte, event string) []byte {
	if event == "" {
		return dst
	}
	dst = strconv.AppendUint(dst, uint64(len(event)), 16)
	dst = append(append(dst, "\r\n"...), event...)
	return append(dst, "\r\n"...)
}

// boundary reports whether the stream may be cut here: behind the head or a chunk,
// and between two events.
func (s *streamScanner) boundary() bool {
	return s.headDone && !s.bad && s.chunk.step == chunkBetween && s.between()
}

// next returns how many bytes of p, which must not be empty, there are up to the
// next place where the stream may be cut: at least one, all of them if there is none.
func (s *streamScanner) next(p []byte) (n int) {
	for n < len(p) && !s.bad && !s.done {
		if s.headDone {
			n += s.body(p[n:])
		} else {
			n += s.readHead(p[n:])
		}
		if s.boundary() {
			return n
		}
	}
	return len(p)
}

func (s *streamScanner) body(p []byte) int {
	n, data := s.chunk.next(p)
	s.bad = data && !s.scan(p[:n]) || s.chunk.step == chunkBad
	s.done = s.chunk.last()
	return n
}

// readHead takes a line of a head, or as much of it as there is.
func (s *streamScanner) readHead(p []byte) int {
	i := bytes.IndexByte(p, '\n')
	n := i + 1
	if i < 0 {
		i, n = len(p), len(p)
	}
	if s.size += n; s.size > maxStreamHead {
		s.fail()
		return n
	}
	line := p[:i]
	if len(s.line) > 0 || i == n {
		s.line = append(s.line, line...)
		line = s.line
	}
	if i < n {
		s.headLine(strings.TrimSuffix(string(line), "\r"))
		s.line = s.line[:0]
	}
	return n
}

func (s *streamScanner) headLine(line string) {
	h := &s.head
	switch {
	case h.status == 0:
		if !h.statusLine(line) {
			s.fail()
		}
	case line != "":
		h.field(line)
	case h.status < 200 && h.status != 101: // RFC 9110, section 15.2
		*h = streamHead{}
	default:
		s.headDone, s.line = true, nil
		s.bad = h.odd || !h.chunked || !h.eventStream || h.encoded
	}
}

// fail gives up: what is written is no response.
func (s *streamScanner) fail() { s.head, s.headDone, s.bad, s.line = streamHead{}, true, true, nil }

// statusLine reads a line like "HTTP/1.1 200 OK": RFC 9112, section 4.
func (h *streamHead) statusLine(line string) bool {
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	h.status = status
	return (version == "HTTP/1.1" || version == "HTTP/1.0") && err == nil && len(code) == 3 && status >= 100
}

// field reads a header field. That of a name which is given twice is odd.
func (h *streamHead) field(line string) {
	name, value, ok := strings.Cut(line, ":")
	value = strings.Trim(value, " \t")
	switch strings.ToLower(name) {
	case "content-type":
		kind, _, _ := strings.Cut(value, ";")
		h.odd = h.odd || h.typed
		h.typed, h.eventStream = true, strings.EqualFold(strings.TrimRight(kind, " \t"), eventStream)
	case "transfer-encoding":
		h.odd = h.odd || h.chunked || !strings.EqualFold(value, "chunked")
		h.chunked = true
	case "content-length":
		h.odd = true
	case "content-encoding":
		h.encoded = h.encoded || !strings.EqualFold(value, "identity")
	}
	// RFC 9112, section 5.2: net/http writes no folded lines.
	h.odd = h.odd || !ok || name == "" || name[0] == ' ' || name[0] == '\t'
}
