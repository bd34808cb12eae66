package raw

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
)

// DialEcho makes n WebSockets to path, which must send every message back. A
// request is then one binary message of size bytes, 126 to 65535 or less than
// 126.
func DialEcho(addr, path string, n, size int) (*Load, error) {
	head := []byte{0x82}
	if size < 126 {
		head = append(head, byte(size))
	} else {
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(size))
	}
	request := append([]byte{}, head...)
	request[1] |= 0x80
	request = append(request, 0, 0, 0, 0) // masked with zeroes
	l := &Load{request: append(request, make([]byte, size)...), length: len(head) + size, begins: head}
	return l, l.connect(addr, n, func(c net.Conn) error { return upgrade(c, path) })
}

func upgrade(c net.Conn, path string) error {
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path)
	if err != nil {
		return err
	}
	in := bufio.NewReader(oneByOne{c}) // nothing behind the head may be read
	resp, err := http.ReadResponse(in, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("cannot make a WebSocket of %s: %s", path, resp.Status)
	}
	return err
}

type oneByOne struct{ io.Reader }

func (r oneByOne) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }
