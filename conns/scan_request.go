package conns

import "bytes"

// maxHead bounds what a caller has to retain of a head that is not complete: as
// much as net/http reads by default.
const maxHead = 1 << 20

// scanState says where a client's bytes have led to.
type scanState uint8

const (
	scanStart   scanState = iota // between two requests: nothing of the next one seen
	scanHead                     // in a head
	scanBody                     // the head is complete, the body is not
	scanPassing                  // not understood: there will be no boundary any more
)

// requestScanner finds where the HTTP/1 requests of a client end. Its boundaries
// are those of net/http's server; where two readers of the same bytes might see
// different ones (RFC 9112, section 11.2) it sees none and passes everything on:
// more than one Content-Length or Transfer-Encoding, a folded one, another coding
// than chunked. So it does for what is no HTTP/1.x: the preface of HTTP/2, CONNECT.
// It does not look for errors that cannot move a boundary, net/http does that and
// closes. The zero value is before the first request.
type requestScanner struct {
	state   scanState
	upgrade bool // the last complete head has an Upgrade field
	empty   bool // next took empty lines alone: the state is what it was, no request ended

	step    headStep
	name    uint8 // index in framingNames of the candidate
	pos     uint8 // matched so far of what step looks for
	verb    uint8 // matched so far of connectVerb
	old     bool  // HTTP/1.0
	folds   bool  // the line before may be continued: RFC 9112, section 5.2
	framed  bool  // a field has told the body's length
	chunked bool
	wants   bool   // this head has an Upgrade field
	size    uint32 // of this head
	left    uint64 // of the body, unless it is chunked
	chunks  chunkScanner
}

type headStep uint8

const (
	headRequest headStep = iota // in the request line
	headLine                    // where a field or the last empty line begins
	headLineLF                  // only the head's last LF may follow
	headName                    // in a name that may be one of framingNames
	headSkip                    // in the rest of a line
	headLength                  // in the value of Content-Length
	headCoding                  // in the value of Transfer-Encoding
	headTail                    // after one of these
	headTailLF                  // only LF may follow
)

const (
	nameLength = iota
	nameCoding
	nameUpgrade
)

// framingNames are the fields that matter. No two begin with the same letter.
var framingNames = [...]string{"content-length:", "transfer-encoding:", "upgrade:"}

const (
	connectVerb  = "CONNECT "
	noVerb       = 255
	versionStart = " HTTP/1." // one digit follows and ends the line
	chunkedName  = "chunked"
)

// next returns how many bytes at the start of b, which must not be empty, belong to
// the request under way: at least one, and none beyond its end. Empty lines before a
// request belong to none and leave scanStart as it is (RFC 9112, section 2.2). They
// mean nothing: net/http ignores four bytes of them, but after a POST only.
func (s *requestScanner) next(b []byte) (n int) {
	if s.state == scanStart {
		for n < len(b) && (b[n] == '\r' || b[n] == '\n') {
			n++
		}
		if n > 0 {
			s.empty = true
			return n
		}
		*s = requestScanner{state: scanHead, upgrade: s.upgrade}
	}
	if s.state == scanHead {
		n = s.head(b)
		if s.size += uint32(min(n, maxHead+1)); s.size > maxHead {
			s.state = scanPassing
		}
	}
	switch {
	case s.state == scanPassing:
		return len(b)
	case s.state == scanBody && n < len(b):
		n += s.body(b[n:])
	}
	return n
}

// head takes bytes up to the end of the head. The lines that do not matter are
// skipped as a whole; all others are read byte by byte, so that it makes no
// difference where b ends.
func (s *requestScanner) head(b []byte) (n int) {
	for n < len(b) && s.state == scanHead {
		switch s.step {
		case headRequest:
			n += s.request(b[n:])
		case headLine:
			n += s.line(b[n])
		case headName:
			n += s.match(b[n:])
		case headSkip:
			i := bytes.IndexByte(b[n:], '\n')
			if i < 0 {
				return len(b)
			}
			n += i + 1
			s.step, s.folds = headLine, true
		default:
			s.value(b[n])
			n++
		}
	}
	return n
}

// request reads the request line: the verb and the end of it matter.
func (s *requestScanner) request(b []byte) (n int) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 && s.size == 0 {
		line := bytes.TrimSuffix(b[:i], []byte{'\r'})
		v := len(line) - len(versionStart) - 1
		if v < 0 || string(line[v:len(line)-1]) != versionStart || !digit(line[len(line)-1]) ||
			len(line) > len(connectVerb) && string(line[:len(connectVerb)]) == connectVerb {
			s.state = scanPassing
		}
		s.step, s.old = headLine, v >= 0 && line[len(line)-1] == '0'
		return i + 1
	}
	for n < len(b) && s.step == headRequest && s.state == scanHead {
		s.requestByte(b[n])
		n++
	}
	return n
}

func (s *requestScanner) requestByte(c byte) {
	if s.verb != noVerb {
		if c != connectVerb[s.verb] {
			s.verb = noVerb
		} else if s.verb++; int(s.verb) == len(connectVerb) {
			s.state = scanPassing
		}
	}
	const digits, cr = len(versionStart), len(versionStart) + 2
	switch pos := int(s.pos); {
	case c == '\n' && pos > digits:
		s.step = headLine
	case c == '\n':
		s.state = scanPassing
	case pos < digits && c == versionStart[pos]:
		s.pos++
	case pos == digits && digit(c):
		s.pos, s.old = s.pos+1, c == '0'
	case pos == digits+1 && c == '\r':
		s.pos = uint8(cr)
	case c == ' ': // the only place where versionStart can begin again
		s.pos = 1
	default:
		s.pos = 0
	}
}

// line tells from its first byte c what a line is. It takes that byte unless it
// belongs to a field.
func (s *requestScanner) line(c byte) (n int) {
	switch c {
	case 'c', 'C':
		s.step, s.name, s.pos = headName, nameLength, 0
	case 't', 'T':
		s.step, s.name, s.pos = headName, nameCoding, 0
	case 'u', 'U':
		s.step, s.name, s.pos = headName, nameUpgrade, 0
	case '\r':
		s.step = headLineLF
		return 1
	case '\n':
		s.end()
		return 1
	case ' ', '\t':
		if !s.folds {
			s.state = scanPassing
		}
		fallthrough
	default:
		s.step = headSkip
	}
	return 0
}

// match reads the name of a field as far as it is the candidate.
func (s *requestScanner) match(b []byte) (n int) {
	for name := framingNames[s.name]; n < len(b); n++ {
		c := b[n]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != name[s.pos] {
			if int(s.pos) == len(name)-1 && (c == ' ' || c == '\t') { // RFC 9112, section 5.1
				s.state = scanPassing
			}
			s.step = headSkip
			return n
		}
		if s.pos++; int(s.pos) == len(name) {
			s.field()
			return n + 1
		}
	}
	return n
}

// field begins the value of the field whose name has matched.
func (s *requestScanner) field() {
	if s.pos = 0; s.name == nameUpgrade {
		s.wants, s.step = true, headSkip
		return
	}
	if s.framed {
		s.state = scanPassing
	}
	s.framed, s.folds, s.step = true, false, headLength
	if s.name == nameCoding {
		s.step = headCoding
		if s.old { // net/http ignores the field then, others may not
			s.state = scanPassing
		}
	}
}

// value reads the value of a field that tells the body's length, and every place
// where a single byte is allowed.
func (s *requestScanner) value(c byte) {
	blank := c == ' ' || c == '\t'
	switch {
	case s.step == headLineLF && c == '\n':
		s.end()
	case blank && s.pos == 0 && (s.step == headLength || s.step == headCoding):
	case s.step == headLength && digit(c) && s.left <= (1<<63-1-9)/10:
		s.pos, s.left = 1, s.left*10+uint64(c-'0')
	case s.step == headCoding && int(s.pos) < len(chunkedName) && c|0x20 == chunkedName[s.pos]:
		s.pos++
		s.chunked = int(s.pos) == len(chunkedName)
	case s.step == headLength && s.pos == 0, s.step == headCoding && !s.chunked, s.step == headLineLF:
		s.state = scanPassing
	case c == '\n':
		s.step = headLine
	case s.step == headTailLF:
		s.state = scanPassing
	case c == '\r':
		s.step = headTailLF
	case blank:
		s.step = headTail
	default:
		s.state = scanPassing
	}
}

// end ends the head.
func (s *requestScanner) end() {
	s.upgrade = s.wants
	if s.state = scanStart; s.chunked || s.left > 0 {
		s.state = scanBody
	}
}

// body takes bytes up to the end of the request.
func (s *requestScanner) body(b []byte) (n int) {
	if !s.chunked {
		n = int(min(s.left, uint64(len(b))))
		if s.left -= uint64(n); s.left == 0 {
			s.state = scanStart
		}
		return n
	}
	for n < len(b) {
		i, _ := s.chunks.next(b[n:])
		n += i
		switch s.chunks.step {
		case chunkEnd:
			s.state = scanStart
			return n
		case chunkBad:
			s.state = scanPassing
			return len(b)
		}
	}
	return n
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
