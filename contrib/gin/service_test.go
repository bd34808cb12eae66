package ginsegue

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue"
)

// child is a service with the same handler twice, on a route that is declared
// movable and on one that is not. It says on standard output what happens.
func child(addr string) int {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.GET("/stays", echo)
	router.Group("/", Movable()).GET("/moves", echo)
	o := segue.Options{
		Trial: 50 * time.Millisecond, Probation: 50 * time.Millisecond,
		Events: func(e segue.Event) {
			os.Stdout.WriteString(fmt.Sprintf("%d %T %s\n", os.Getpid(), e, strings.ReplaceAll(e.String(), "\n", " ")))
		},
	}
	err := segue.Run(context.Background(), o, func(_ context.Context, app *segue.App) error {
		app.HTTP("web", addr, router)
		return nil
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// echo is the least a WebSocket can be (RFC 6455): short messages in one frame.
// It answers each with the pid of the process that has read it.
func echo(c *gin.Context) {
	nc, rw, err := http.NewResponseController(c.Writer).Hijack()
	if err != nil {
		return
	}
	defer nc.Close()
	// The accept key is that of the key which the test sends (RFC 6455, section 1.3).
	fmt.Fprint(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	for {
		if _, _, err := message(rw.Reader); err != nil {
			return
		}
		pid := fmt.Sprint(os.Getpid())
		if _, err := nc.Write(append([]byte{0x81, byte(len(pid))}, pid...)); err != nil {
			return
		}
	}
}

// message reads a frame of less than 126 bytes, masked or not.
func message(r *bufio.Reader) (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	var mask [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(r, mask[:]); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0] & 0x0f, payload, nil
}
