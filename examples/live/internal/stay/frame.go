package stay

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Frames of RFC 6455, by hand: nothing between the test and the bytes.

const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// appendFrame appends a frame as a client sends it: masked.
func appendFrame(b []byte, op byte, fin bool, payload []byte, mask uint32) []byte {
	if fin {
		op |= 0x80
	}
	b = append(b, op)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = binary.LittleEndian.AppendUint32(b, mask)
	at := len(b)
	b = append(b, payload...)
	xor(b[at:], mask)
	return b
}

func xor(b []byte, mask uint32) {
	for wide := uint64(mask)<<32 | uint64(mask); len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
	}
	for i := range b {
		b[i] ^= byte(mask >> (8 * (i % 4)))
	}
}

// readFrame reads a frame as a server sends it, with the payload in buf if there
// is room.
func readFrame(r *bufio.Reader, buf []byte) (op byte, fin bool, payload []byte, err error) {
	var head [10]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return 0, false, nil, err
	}
	n := uint64(head[1] & 0x7f)
	switch {
	case head[0]&0x70 != 0 || head[1]&0x80 != 0:
		return 0, false, nil, fmt.Errorf("a frame begins with %x", head[:2])
	case n == 126:
		if _, err := io.ReadFull(r, head[2:4]); err != nil {
			return 0, false, nil, err
		}
		n = uint64(binary.BigEndian.Uint16(head[2:]))
	case n == 127:
		if _, err := io.ReadFull(r, head[2:10]); err != nil {
			return 0, false, nil, err
		}
		n = binary.BigEndian.Uint64(head[2:])
	}
	if n > 1<<20 {
		return 0, false, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	if uint64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return 0, false, nil, err
	}
	return head[0] & 0x0f, head[0]&0x80 != 0, buf[:n], nil
}

// errTold is the end of a connection that was told that the service restarts.
var errTold = errors.New("1012")

// socket is a client's WebSocket.
type socket struct {
	*client
	rng     *rand.Rand // the reader's, for its pongs
	buf     []byte     // of one frame
	message []byte     // of several
	pong    func(payload []byte)
	told    bool // that the service restarts; set by ended
}

// upgrade connects and asks for a WebSocket at path.
func (c *client) upgrade(path string) (*socket, error) {
	if err := c.connect(); err != nil {
		return nil, err
	}
	var nonce [16]byte
	binary.LittleEndian.PutUint64(nonce[:], c.rng.Uint64())
	key := base64.StdEncoding.EncodeToString(nonce[:])
	path = strings.ReplaceAll(path, "{n}", strconv.Itoa(c.n))
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", path, key)
	if err := c.write([]byte(request), c.rng); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if accept := response.Header.Get("Sec-WebSocket-Accept"); response.StatusCode != 101 || accept != base64.StdEncoding.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("%s answers %s, accept %q", path, response.Status, accept)
	}
	return &socket{client: c, rng: rand.New(rand.NewPCG(c.rng.Uint64(), 0))}, nil
}

// read returns the next whole message, which is valid until the next call. It
// answers pings. errTold is the end that was announced, io.EOF the one we asked
// for.
func (s *socket) read() ([]byte, error) {
	for begun := false; ; {
		op, fin, payload, err := readFrame(s.r, s.buf)
		if err != nil {
			return nil, fmt.Errorf("ended: %w", err)
		}
		s.buf = payload[:cap(payload)]
		switch op {
		case opPing:
			if err := s.write(appendFrame(nil, opPong, true, payload, s.rng.Uint32()), s.rng); err != nil {
				return nil, err
			}
		case opPong:
			if s.pong != nil {
				s.pong(payload)
			}
		case opClose:
			// It may be gone already: what it said is what counts.
			_ = s.write(appendFrame(nil, opClose, true, payload, s.rng.Uint32()), s.rng)
			switch {
			case len(payload) >= 2 && binary.BigEndian.Uint16(payload) == 1012:
				return nil, errTold
			case len(payload) >= 2 && binary.BigEndian.Uint16(payload) == 1000:
				return nil, io.EOF
			}
			return nil, fmt.Errorf("close frame %x %q", payload, payload)
		default:
			if begun != (op == opContinuation) {
				return nil, fmt.Errorf("opcode %d in the wrong place", op)
			}
			if !begun && fin {
				return payload, nil
			}
			if !begun {
				s.message = s.message[:0]
			}
			begun = true
			if s.message = append(s.message, payload...); fin {
				return s.message, nil
			}
		}
	}
}

// bye closes in order, from our side, and gives the service a moment to agree.
func (s *socket) bye() {
	rng := rand.New(rand.NewPCG(s.run.seed, uint64(s.n))) // both the sender and the reader may be at work
	_ = s.write(appendFrame(nil, opClose, true, []byte{1000 >> 8, 1000 & 0xff}, 0), rng)
	_ = s.nc.SetReadDeadline(time.Now().Add(time.Second))
}

// ended accounts for the end of a WebSocket.
func (s *socket) ended(err error) {
	switch {
	case errors.Is(err, errTold):
		s.told = true
		s.tally.add(func(c *Count) { c.Told++ })
	default:
		s.tally.add(func(c *Count) { c.Closed++ })
		s.example("%v", err)
	}
}
