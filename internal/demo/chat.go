//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/segue-go/segue/internal/verify"
)

// chat is the shop's chat over WebSocket, a conversation a worker. Each request
// is a line, and its answer is the same line coming back. A client that is told
// 1012 comes back, goes on after the last line that it has seen, and says again
// what was not acknowledged: a ref is stored once, and must come back under one
// id. A line takes a while to type, which is part of its latency.
type chat struct{}

// patience is for a goodbye; comebacks bound how often one line may need a new
// connection.
const (
	typing    = 100 * time.Millisecond
	patience  = time.Second
	comebacks = 10
)

func (chat) Name() string { return "websocket" }

func (chat) Open(t verify.Target, workers int) ([]verify.Sender, error) {
	senders := make([]verify.Sender, workers)
	for i := range senders {
		senders[i] = &chatter{target: t, name: fmt.Sprintf("guest-%d", i)}
	}
	return senders, nil
}

// chatter is one client end.
type chatter struct {
	target verify.Target
	name   string
	ws     *socket // nil: the next line connects
	why    verify.Connect
	after  *int64 // the last line that it has seen; nil before the conversation
	again  string // the ref of a line that was said again on this connection
}

func (c *chatter) Send(ctx context.Context, r *verify.Request) error {
	line, err := json.Marshal(map[string]string{"ref": r.ID, "text": "hello from " + c.name})
	if err != nil {
		return err
	}
	select {
	case <-time.After(typing):
	case <-ctx.Done():
	}
	for n := range comebacks {
		done, err := c.try(ctx, r, line, n > 0)
		if done || err != nil {
			return err
		}
	}
	return &verify.Loss{Cause: verify.EOF, Detail: fmt.Sprintf("told to come back %d times", comebacks)}
}

// try says the line over the present connection, or a new one. It is not done,
// without an error, when the server is leaving.
func (c *chatter) try(ctx context.Context, r *verify.Request, line []byte, again bool) (done bool, err error) {
	if c.ws == nil {
		if err := c.connect(ctx, r); err != nil {
			return false, err
		}
	}
	r.Via(c.ws.conn)
	defer bind(ctx, c.ws.conn)()
	if again {
		c.again = r.ID
	}
	said := c.ws.write(opText, line)
	for {
		var f struct {
			Type    string `json:"type"`
			After   *int64 `json:"after"`
			Error   string `json:"error"`
			Message struct {
				ID  int64  `json:"id"`
				Ref string `json:"ref"`
			} `json:"message"`
		}
		data, err := c.ws.next()
		if errors.Is(err, errRestarts) {
			c.drop(verify.Asked)
			return false, nil
		}
		if err == nil {
			err = json.Unmarshal(data, &f)
		}
		switch {
		case err != nil:
			c.drop(verify.Unasked)
			return false, ending(ctx, errors.Join(err, said))
		case f.Type == "open":
			c.after = f.After
		case f.Type != "message":
			return false, &verify.Loss{Cause: verify.Wrong, Detail: "the chat says " + string(data)}
		case c.after != nil && f.Message.ID <= *c.after && f.Message.Ref == c.again:
			// It had been stored, and came back as what was missed before it was
			// said again; this acknowledges the repetition.
			c.again = ""
		case c.after != nil && f.Message.ID <= *c.after:
			return false, &verify.Loss{Cause: verify.Gap, Detail: fmt.Sprintf("line %d comes after line %d", f.Message.ID, *c.after)}
		default:
			c.after = &f.Message.ID
			if f.Message.Ref == r.ID {
				return true, nil
			}
		}
	}
}

// connect opens the conversation, where it was left.
func (c *chatter) connect(ctx context.Context, r *verify.Request) error {
	conn, err := c.target.Dial(ctx, "http/1.1")
	if err != nil {
		return &verify.Loss{Cause: verify.Refused, Detail: "connect", Err: err}
	}
	r.Connected(c.why)
	query := url.Values{"name": {c.name}}
	if c.after != nil {
		query.Set("after", fmt.Sprint(*c.after))
	}
	defer bind(ctx, conn)()
	c.ws, err = upgradeToWebSocket(conn, c.target.Addr, "/api/chat?"+query.Encode())
	if err != nil {
		conn.Close()
		c.ws, c.why = nil, verify.Unasked
		return ending(ctx, err)
	}
	return nil
}

func (c *chatter) drop(why verify.Connect) {
	c.ws.conn.Close()
	c.ws, c.why, c.again = nil, why, ""
}

// Close says goodbye as a browser does, so that the server sees an end in order.
func (c *chatter) Close() error {
	if c.ws == nil {
		return nil
	}
	c.ws.conn.SetDeadline(time.Now().Add(patience))
	if c.ws.write(opClose, []byte{1000 >> 8, 1000 & 0xff}) == nil {
		for err := error(nil); err == nil; {
			_, err = c.ws.next()
		}
	}
	c.drop(verify.First)
	return nil
}

// ending is the loss that an exchange which broke off comes to.
func ending(ctx context.Context, err error) error {
	l := &verify.Loss{Cause: verify.Truncated, Detail: "chat", Err: err}
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		l.Cause = verify.Aborted
	case errors.As(err, &timeout) && timeout.Timeout():
		l.Cause = verify.Timeout
	}
	return l
}

// bind ends I/O on c with ctx, until the function returned is called.
func bind(ctx context.Context, c net.Conn) (undo func()) {
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)); close(done) })
	return func() {
		if !stop() {
			<-done
		}
	}
}

// upgradeToWebSocket is the client's half of the opening handshake (RFC 6455, 4.1).
func upgradeToWebSocket(conn net.Conn, host, path string) (*socket, error) {
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2VndWUgZGVtb25zdHJhdA==\r\n\r\n", path, host)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		resp.Body.Close()
		return nil, fmt.Errorf("the answer to an upgrade is %s", resp.Status)
	}
	return &socket{conn: conn, in: in}, nil
}
