//go:build unix

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// Opcodes of frames (RFC 6455, 5.2).
const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xA
)

// maxFrame bounds what is taken from the server.
const maxFrame = 1 << 20

// errRestarts is the end that a server asks for when it is leaving: 1012, after
// which the client comes back.
var errRestarts = errors.New("the server restarts (1012)")

// socket is the client end of a WebSocket connection: as much of RFC 6455 as a
// server needs that sends each message in one frame.
type socket struct {
	conn net.Conn
	in   *bufio.Reader
}

// next is the next text message. Pings are answered, a close is an error.
func (s *socket) next() ([]byte, error) {
	for {
		op, data, err := s.read()
		switch {
		case err != nil:
			return nil, err
		case op == opText:
			return data, nil
		case op == opPing:
			if err := s.write(opPong, data); err != nil {
				return nil, err
			}
		case op == opClose:
			s.write(opClose, data) // the answer that the server waits for
			code := 1005           // none was given (7.1.5)
			if len(data) >= 2 {
				code = int(binary.BigEndian.Uint16(data))
			}
			if code == 1012 {
				return nil, errRestarts
			}
			return nil, fmt.Errorf("the server closed with %d", code)
		case op != opPong:
			return nil, fmt.Errorf("a frame with the opcode %#x was not expected", op)
		}
	}
}

func (s *socket) read() (op byte, data []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&0xf0 != 0x80 || head[1]&0x80 != 0 {
		return 0, nil, fmt.Errorf("the frame %x is a fragment, uses an extension or is masked", head)
	}
	size := uint64(head[1])
	switch size {
	case 126:
		var n [2]byte
		_, err = io.ReadFull(s.in, n[:])
		size = uint64(binary.BigEndian.Uint16(n[:]))
	case 127:
		var n [8]byte
		_, err = io.ReadFull(s.in, n[:])
		size = binary.BigEndian.Uint64(n[:])
	}
	if err == nil && size > maxFrame {
		err = fmt.Errorf("a frame of %d bytes is too large", size)
	}
	if err != nil {
		return 0, nil, err
	}
	data = make([]byte, size)
	_, err = io.ReadFull(s.in, data)
	return head[0] & 0x0f, data, err
}

// write sends a frame. The mask is of zeros: it protects proxies from what a
// browser's script may send (10.3), and there is neither here.
func (s *socket) write(op byte, data []byte) error {
	frame := []byte{0x80 | op}
	if len(data) < 126 {
		frame = append(frame, 0x80|byte(len(data)))
	} else {
		frame = append(frame, 0x80|126)
		frame = binary.BigEndian.AppendUint16(frame, uint16(len(data)))
	}
	frame = append(frame, 0, 0, 0, 0)
	_, err := s.conn.Write(append(frame, data...))
	return err
}
