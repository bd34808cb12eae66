package testnet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// WebSocket is either end of a WebSocket connection (RFC 6455): text messages of
// at most 125 bytes, a frame each, and the close frame. It is not safe for
// concurrent use.
type WebSocket struct {
	net.Conn
	in   *bufio.Reader
	mask bool
}

// accept is what answers the key of RFC 6455, section 1.3, which Dial sends.
const (
	key    = "dGhlIHNhbXBsZSBub25jZQ=="
	accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// DialWebSocket upgrades a new TCP connection.
func DialWebSocket(addr, path string) (*WebSocket, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	w := &WebSocket{c, bufio.NewReader(c), true}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", path, key)
	resp, err := http.ReadResponse(w.in, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("the upgrade was answered %s", resp.Status)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return w, nil
}

// UpgradeWebSocket is the server's side of that.
func UpgradeWebSocket(w http.ResponseWriter) (*WebSocket, error) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+accept+"\r\n\r\n")
	return &WebSocket{c, rw.Reader, false}, err
}

// Send sends a message.
func (w *WebSocket) Send(text string) error {
	if len(text) > 125 {
		return errors.New("the message is too long")
	}
	frame := []byte{0x81, byte(len(text))}
	if w.mask {
		frame[1] |= 0x80
		frame = append(frame, 0, 0, 0, 0) // a key that changes nothing
	}
	_, err := w.Write(append(frame, text...))
	return err
}

// Receive returns the next message. A close frame is an error, which says what
// code it has.
func (w *WebSocket) Receive() (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(w.in, head[:]); err != nil {
		return "", err
	}
	n := int(head[1] & 0x7f)
	if !w.mask {
		n += 4
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(w.in, data); err != nil {
		return "", err
	}
	if !w.mask {
		for i := range data[4:] {
			data[4+i] ^= data[i%4]
		}
		data = data[4:]
	}
	switch {
	case head[0] == 0x88 && len(data) >= 2:
		return "", fmt.Errorf("it was closed with %d", int(data[0])<<8|int(data[1]))
	case head[0] != 0x81:
		return "", fmt.Errorf("a frame begins with %#x", head[0])
	}
	return string(data), nil
}
