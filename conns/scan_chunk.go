package conns

// chunkScanner follows the chunked coding (RFC 9112, section 7.1). It is as strict
// as net/http, and stricter in one place: a trailer whose lines end with a bare LF
// is bad, because net/http peeks beyond its end before it takes it. The zero value
// is before the first chunk.
type chunkScanner struct {
	left   uint64 // of the chunk's data; in a size line, the size so far
	step   chunkStep
	digits uint8
}

type chunkStep uint8

const (
	chunkBetween chunkStep = iota // before a size line
	chunkSize                     // in its digits
	chunkPad                      // in the whitespace after them
	chunkExt                      // in an extension
	chunkSizeLF                   // only LF may follow
	chunkData
	chunkDataCR // only CR may follow
	chunkDataLF // only LF may follow
	chunkLine   // where a trailer field or the last CRLF begins
	chunkLineLF // only the body's last LF may follow
	chunkField  // in a trailer field
	chunkFieldLF
	chunkEnd // the body is over
	chunkBad
)

// next takes bytes from the start of b, at least one unless b is empty: some of a
// chunk's data, or else framing as far as the next data, the end of a chunk or the
// end of the body. It is not called after chunkEnd or chunkBad.
func (c *chunkScanner) next(b []byte) (n int, data bool) {
	if c.step == chunkData {
		n = int(min(c.left, uint64(len(b))))
		if c.left -= uint64(n); c.left == 0 {
			c.step = chunkDataCR
		}
		return n, true
	}
	for n < len(b) {
		c.step = c.framing(b[n])
		n++
		switch c.step {
		case chunkBetween, chunkData, chunkEnd, chunkBad:
			return n, false
		}
	}
	return n, false
}

// last reports whether the chunk of size 0 has been seen.
func (c *chunkScanner) last() bool { return c.step >= chunkLine && c.step <= chunkEnd }

// framing is the step that one byte outside of the data leads to.
func (c *chunkScanner) framing(b byte) chunkStep {
	switch c.step {
	case chunkBetween, chunkSize:
		return c.size(b)
	case chunkPad:
		switch b {
		case ' ', '\t':
			return chunkPad
		case '\r':
			return chunkSizeLF
		}
	case chunkExt:
		switch b {
		case '\r':
			return chunkSizeLF
		case '\n':
			return chunkBad
		}
		return chunkExt
	case chunkSizeLF:
		if b == '\n' {
			if c.digits = 0; c.left == 0 {
				return chunkLine
			}
			return chunkData
		}
	case chunkDataCR:
		if b == '\r' {
			return chunkDataLF
		}
	case chunkDataLF:
		if b == '\n' {
			return chunkBetween
		}
	default:
		return c.trailer(b)
	}
	return chunkBad
}

func (c *chunkScanner) size(b byte) chunkStep {
	var d byte
	switch {
	case '0' <= b && b <= '9':
		d = b - '0'
	case 'a' <= b && b <= 'f':
		d = b - 'a' + 10
	case 'A' <= b && b <= 'F':
		d = b - 'A' + 10
	case c.digits == 0:
		return chunkBad
	case b == ';':
		return chunkExt
	case b == ' ', b == '\t':
		return chunkPad
	case b == '\r':
		return chunkSizeLF
	default:
		return chunkBad
	}
	if c.digits++; c.digits > 16 {
		return chunkBad
	}
	c.left = c.left<<4 | uint64(d)
	return chunkSize
}

func (c *chunkScanner) trailer(b byte) chunkStep {
	switch {
	case c.step == chunkLineLF && b == '\n':
		return chunkEnd
	case c.step == chunkFieldLF && b == '\n':
		return chunkLine
	case c.step == chunkLine && b == '\r':
		return chunkLineLF
	case c.step == chunkField && b == '\r':
		return chunkFieldLF
	case c.step == chunkLine && b != '\n', c.step == chunkField && b != '\n':
		return chunkField
	}
	return chunkBad
}
