package stay

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Room is a member of a chat: it says a line now and then, and gets every line of
// all members, its own too. All clients of the load are in the same room, and
// once all are there each line has to say so, unless they will leave.
type Room struct {
	Path  string
	Leave bool
}

// member is a Room at work.
type member struct {
	*listener
	Room
	socket *socket
	all    bool // have been there
}

func (k Room) open(c *client) error {
	s, err := c.upgrade(k.Path)
	if err != nil {
		return err
	}
	m := &member{Room: k, socket: s}
	m.listener = &listener{sequence: sequence{client: c, last: -1}, topic: "room " + c.load.Name, bye: s.bye}
	m.next = m.take
	m.ended = func(err error) { s.ended(err); m.told = s.told }
	c.state = m
	return nil
}

func (m *member) take() error {
	message, err := m.socket.read()
	if err != nil {
		return err
	}
	var line struct {
		N, Online int
		Text      string
	}
	if err := json.Unmarshal(message, &line); err != nil {
		return err
	}
	if m.last < 0 {
		m.last = line.N - 1 // who joins does not get everything from before
	}
	who, at, _ := strings.Cut(line.Text, " ")
	if who != strconv.Itoa(m.client.n) {
		at = "" // the pauses of others are theirs
	}
	m.got(line.N, at)
	switch n := m.load.Clients; {
	case line.Online == n:
		m.all = true
	case m.all && !m.Leave || line.Online > n:
		m.tally.add(func(c *Count) { c.Wrong++ })
		m.example("line %d says that %d of %d are there", line.N, line.Online, n)
	}
	return nil
}

func (k Room) stay(c *client) {
	m := c.state.(*member)
	said := make(chan struct{})
	go func() {
		defer close(said)
		defer c.run.senders.Done()
		c.beats(func(intended time.Time) bool {
			if m.over.Load() {
				return false // nothing may follow a Close frame
			}
			text := fmt.Sprintf("%d %d", c.n, intended.UnixNano())
			if m.socket.write(appendFrame(nil, opText, true, []byte(text), c.rng.Uint32()), c.rng) != nil {
				return false
			}
			c.run.publishes(m.topic)
			c.tally.add(func(c *Count) { c.Sent++ })
			return true
		})
	}()
	m.listener.stay()
	<-said
}
