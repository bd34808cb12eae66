package stay

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Requests is an HTTP/1.1 client with one connection, which it keeps. When that
// ends it connects again, since requests must go on, and counts it; the request
// that met the end is lost, and not sent again.
type Requests struct {
	Method   string        // "GET" or "POST"
	Path     string        // of what answers as /json does, or "/upload", "/publish", "/slow"
	Body     int           // bytes, at most; of the content of a POST
	Over     time.Duration // the body is sent in pieces, for that long
	Pipeline int           // requests sent at once; 0 is one
	Topic    string        // for /publish
}

func (k Requests) open(c *client) error {
	if err := c.connect(); err != nil {
		return err
	}
	return k.exchange(c, time.Now())
}

func (k Requests) stay(c *client) {
	defer c.run.senders.Done()
	c.beats(func(intended time.Time) bool {
		if c.nc == nil {
			if err := c.connect(); err != nil {
				c.tally.add(func(c *Count) { c.Sent++; c.Lost++ })
				c.example("%v", err)
				return true
			}
			c.tally.add(func(c *Count) { c.Reconnects++ })
		}
		err := k.exchange(c, intended)
		var polite goodbye
		switch {
		case err == nil:
			return true
		case errors.As(err, &polite):
			c.tally.add(func(c *Count) { c.Goodbyes++; c.Lost += polite.unanswered })
		default:
			c.tally.add(func(c *Count) { c.Closed++; c.Lost++ })
		}
		c.example("%v", err)
		c.hangUp()
		c.nc = nil
		return true
	})
}

// goodbye is an answer that said Connection: close.
type goodbye struct{ unanswered int }

func (g goodbye) Error() string {
	return fmt.Sprintf("Connection: close, %d behind it not answered", g.unanswered)
}

// exchange sends and gets what belongs together.
func (k Requests) exchange(c *client, intended time.Time) error {
	c.nc.SetReadDeadline(time.Now().Add(patience))
	n := max(1, k.Pipeline)
	var heads []byte
	var checks []func(status int, body []byte) error
	for i := range n {
		head, body, check := k.request(c, intended, i)
		heads = append(heads, head...)
		checks = append(checks, check)
		c.tally.add(func(c *Count) { c.Sent++ })
		if len(body) > 0 {
			if err := k.send(c, heads, body); err != nil {
				return err
			}
			heads = nil
		}
	}
	if heads != nil {
		if err := c.write(heads, c.rng); err != nil {
			return err
		}
	}
	for i, check := range checks {
		response, err := http.ReadResponse(c.r, nil)
		if err != nil {
			return fmt.Errorf("the answer: %w", err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return fmt.Errorf("the answer: %w", err)
		}
		if err := check(response.StatusCode, body); err != nil {
			c.tally.add(func(c *Count) { c.Wrong++ })
			c.example("%v", err)
		} else {
			c.tally.add(func(c *Count) { c.Received++ })
			c.tally.paused(c.n, time.Since(intended)-k.Over)
		}
		if response.Close {
			return goodbye{n - 1 - i}
		}
	}
	return nil
}

// request makes one, and what its answer has to be.
func (k Requests) request(c *client, intended time.Time, i int) (head, body []byte, check func(int, []byte) error) {
	id := strconv.FormatUint(c.rng.Uint64(), 36)
	var answer struct {
		N, Method, SHA256 string
		Bytes             int
	}
	target := k.Path + "?n=" + id
	if strings.Contains(k.Path, "?") {
		target = k.Path + "&n=" + id
	}
	switch {
	case k.Topic != "":
		target = k.Path + "?topic=" + k.Topic
		body = strconv.AppendInt(nil, intended.UnixNano(), 10)
	case k.Method == "POST":
		at := c.rng.IntN(maxMessage)
		for size := 1 + c.rng.IntN(max(1, k.Body)); len(body) < size; {
			body = append(body, noise[at:at+min(maxMessage, size-len(body))]...)
		}
	}
	head = fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: localhost\r\n", k.Method, target)
	if k.Method == "POST" {
		head = fmt.Appendf(head, "Content-Type: application/octet-stream\r\nContent-Length: %d\r\n", len(body))
	}
	head = append(head, "\r\n"...)
	sum := fmt.Sprintf("%x", sha256.Sum256(body))
	size := len(body)
	return head, body, func(status int, got []byte) error {
		if k.Topic != "" {
			if status != http.StatusNoContent {
				return fmt.Errorf("published: %d %s", status, got)
			}
			c.run.publishes(k.Topic)
			return nil
		}
		if err := json.Unmarshal(got, &answer); status != http.StatusOK || err != nil {
			return fmt.Errorf("answer %d %q: %v", status, got, err)
		}
		switch {
		case strings.HasPrefix(k.Path, "/slow"):
		case k.Path == "/upload" && (answer.SHA256 != sum || answer.Bytes != size):
			return fmt.Errorf("uploaded %d bytes %s, arrived %q", size, sum, got)
		case k.Path != "/upload" && (answer.N != id || answer.Bytes != size || answer.Method != k.Method):
			return fmt.Errorf("request %s with %d bytes, answer %d is to %q", id, size, i, got)
		}
		return nil
	}
}

// send sends a request with a body, in pieces over k.Over.
func (k Requests) send(c *client, head, body []byte) error {
	if k.Over == 0 {
		return c.write(append(head, body...), c.rng)
	}
	if err := c.write(head, c.rng); err != nil {
		return err
	}
	const pieces = 16
	for i := range pieces {
		if err := c.write(body[len(body)*i/pieces:len(body)*(i+1)/pieces], c.rng); err != nil {
			return err
		}
		time.Sleep(k.Over / pieces)
	}
	return nil
}
