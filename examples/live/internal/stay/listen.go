package stay

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// listener is a client that gets what others publish. At the end it waits for
// the rest of it.
type listener struct {
	sequence
	topic   string // "": what comes has no numbers
	reached atomic.Int64
	closing atomic.Bool
	over    atomic.Bool  // it has ended
	next    func() error // takes one message
	ended   func(error)
	bye     func()
	told    bool
}

func (l *listener) stay() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if err := l.next(); err != nil {
				l.over.Store(true)
				if !l.closing.Load() {
					l.ended(err)
				}
				return
			}
			l.reached.Store(int64(l.last))
		}
	}()
	select {
	case <-ended:
	case <-l.run.settled:
		l.catchUp(ended)
	}
	l.closing.Store(true)
	l.bye()
	<-ended
	if !l.told && l.topic != "" {
		l.settle(l.run.total(l.topic))
	}
}

// catchUp waits for the last event that was published.
func (l *listener) catchUp(ended <-chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(settleTimeout)
	defer late.Stop()
	for l.reached.Load() < int64(l.run.total(l.topic)) {
		select {
		case <-ended:
			return
		case <-late.C:
			return
		case <-tick.C:
		}
	}
}

// Topic is a WebSocket at Path that subscribes to a topic after it has connected.
type Topic struct{ Path, Topic string }

func (Topic) listens() {}

func (k Topic) open(c *client) error {
	s, err := c.upgrade(k.Path)
	if err != nil {
		return err
	}
	if err := s.write(appendFrame(nil, opText, true, []byte("sub "+k.Topic), c.rng.Uint32()), c.rng); err != nil {
		return err
	}
	read := func() (n int, text string, err error) {
		message, err := s.read()
		if err != nil {
			return 0, "", err
		}
		var e struct {
			N    int
			Text string
		}
		err = json.Unmarshal(message, &e)
		return e.N, e.Text, err
	}
	n, text, err := read()
	if err != nil || text != "subscribed" {
		return fmt.Errorf("the answer to a subscription is %q, %v", text, err)
	}
	l := &listener{sequence: sequence{client: c, last: n}, topic: k.Topic, bye: s.bye}
	l.next = func() error {
		n, text, err := read()
		if err == nil {
			l.got(n, text)
		}
		return err
	}
	l.ended = func(err error) { s.ended(err); l.told = s.told }
	c.state = l
	return nil
}

func (Topic) stay(c *client) { c.state.(*listener).stay() }

// Events is an event stream at Path, of a topic whose events have ids; without a
// topic, one whose events have none.
type Events struct{ Path, Topic string }

func (Events) listens() {}

func (k Events) open(c *client) error {
	if err := c.connect(); err != nil {
		return err
	}
	path := k.Path
	if k.Topic != "" {
		path += "?topic=" + k.Topic
	}
	if err := c.write(fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", path), c.rng); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != 200 {
		return fmt.Errorf("%s answers %s", path, response.Status)
	}
	lines := bufio.NewReader(response.Body)
	l := &listener{sequence: sequence{client: c}, topic: k.Topic}
	if k.Topic != "" {
		e, err := readEvent(lines)
		if err != nil || e.id == 0 && e.data != "0" {
			return fmt.Errorf("the first event is %+v, %v", e, err)
		}
		l.last = e.id
	}
	l.next = func() error {
		e, err := readEvent(lines)
		switch {
		case err != nil:
			return err
		case e.retry:
			l.told = true
		case k.Topic != "":
			l.got(e.id, e.data)
		default:
			l.got(l.last+1, e.data)
		}
		return nil
	}
	l.ended = func(err error) {
		if l.told && errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			c.tally.add(func(c *Count) { c.Told++ })
			return
		}
		c.tally.add(func(c *Count) { c.Closed++ })
		c.example("the stream ended: %v", err)
	}
	l.bye = func() { c.nc.Close() }
	c.state = l
	return nil
}

func (Events) stay(c *client) { c.state.(*listener).stay() }

type event struct {
	id    int
	data  string
	retry bool
}

func readEvent(r *bufio.Reader) (e event, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return e, err
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "":
			return e, nil
		case "id":
			if e.id, err = strconv.Atoi(value); err != nil {
				return e, err
			}
		case "data":
			e.data = value
		case "retry":
			e.retry = true
		}
	}
}
