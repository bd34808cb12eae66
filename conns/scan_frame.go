package conns

import (
	"encoding/binary"
	"unicode/utf8"
)

// The opcodes of RFC 6455, section 5.2, that matter here.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// maxHeader is the longest header of a frame.
const maxHeader = 14

// maxControl is the longest payload of a control frame: RFC 6455, section 5.5.
const maxControl = 125

// frameScanner finds where the WebSocket frames and messages of one direction end.
// Whether frames are masked, what the RSV bits mean and whether a length could be
// written shorter is left to the two ends. The zero value is before the first frame.
type frameScanner struct {
	closing bool // the header of a Close frame has begun
	bad     bool // not WebSocket: there will be no boundary any more

	first byte   // of the frame under way or just ended
	step  uint8  // where in the frame
	need  uint8  // bytes that the step still takes
	mask  uint8  // length of the masking key
	open  bool   // a fragmented message is under way
	left  uint64 // of the payload; in the length, what is known of it
}

const (
	frameFirst   = iota // before a frame
	frameSecond         // before the byte with the mask bit and the short length
	frameLength         // in the extended length
	frameMask           // in the masking key
	framePayload        // in the payload
)

// next returns how many bytes at the start of b, which must not be empty, belong to
// the frame under way: at least one, and none beyond its end.
func (s *frameScanner) next(b []byte) (n int) {
	for n < len(b) && !s.bad {
		if s.step == framePayload {
			i := int(min(s.left, uint64(len(b)-n)))
			s.left -= uint64(i)
			n += i
		} else {
			s.header(b[n])
			n++
		}
		if s.step == framePayload && s.left == 0 {
			s.end()
			return n
		}
	}
	return len(b)
}

// header reads one byte of a frame's header.
func (s *frameScanner) header(c byte) {
	switch s.step {
	case frameFirst:
		s.first, s.step = c, frameSecond
		s.bad = !s.allowed()
		s.closing = s.closing || s.opcode() == opClose
	case frameSecond:
		s.step, s.left = frameMask, uint64(c&0x7f)
		if s.mask = c >> 7 * 4; s.left > maxControl {
			s.bad = s.control()
			s.step, s.need = frameLength, 2
			if s.left == 127 {
				s.need = 8
			}
			s.left = 0
		}
	case frameLength:
		s.left = s.left<<8 | uint64(c)
		if s.need--; s.need == 0 {
			s.step, s.bad = frameMask, s.left>>63 != 0
		}
	case frameMask:
		s.mask--
	}
	if s.step == frameMask && s.mask == 0 {
		s.step = framePayload
	}
}

// allowed reports whether a frame may begin with its first byte here: RFC 6455,
// section 5.4.
func (s *frameScanner) allowed() bool {
	switch s.opcode() {
	case opContinuation:
		return s.open
	case opText, opBinary:
		return !s.open
	case opClose, opPing, opPong:
		return s.final()
	}
	return false
}

// end ends the frame.
func (s *frameScanner) end() {
	s.step = frameFirst
	if !s.control() {
		s.open = !s.final()
	}
}

func (s *frameScanner) final() bool { return s.first&0x80 != 0 }

// opcode is that of the frame under way or, between two, of the last one.
func (s *frameScanner) opcode() byte { return s.first & 0xf }

// control reports whether that is a control frame.
func (s *frameScanner) control() bool { return s.first&0x8 != 0 }

// missing returns how many bytes the frame under way lacks, about, while its header
// is not complete; 0 between two frames.
func (s *frameScanner) missing() uint64 {
	switch {
	case s.bad || s.frameEnd():
		return 0
	case s.step == framePayload:
		return s.left
	}
	return maxHeader
}

// frameEnd reports whether no frame is under way.
func (s *frameScanner) frameEnd() bool { return s.step == frameFirst && !s.bad }

// messageEnd reports whether no message is under way.
func (s *frameScanner) messageEnd() bool { return s.frameEnd() && !s.open }

// appendFrame appends a final, unmasked frame. The payload is at most maxControl long.
func appendFrame(dst []byte, opcode byte, payload []byte) []byte {
	return append(append(dst, 0x80|opcode, byte(len(payload))), payload...)
}

// closePayload is the payload of a Close frame: RFC 6455, section 5.5.1. A reason
// that does not fit is cut between two characters.
func closePayload(code uint16, reason string) []byte {
	n := min(len(reason), maxControl-2)
	for n > 0 && n < len(reason) && !utf8.RuneStart(reason[n]) {
		n--
	}
	return append(binary.BigEndian.AppendUint16(nil, code), reason[:n]...)
}
