package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/segue-go/segue/conns"
)

// Line is one line of a room, with how many were in it then.
type Line struct {
	N      int    `json:"n"`
	Text   string `json:"text"`
	Online int    `json:"online"`
}

// Chat is rooms in memory. What is said in a room exists nowhere else, so its
// members must never be in two processes: each room is a group.
type Chat struct {
	mu    sync.Mutex
	rooms map[string]*Room
}

func NewChat() *Chat { return &Chat{rooms: map[string]*Room{}} }

// Room is one of them. Its exported fields are what moves.
type Room struct {
	mu      sync.Mutex
	members map[*gorilla.Conn]bool
	online  int
	moved   int    // the last line that members who have moved here have had
	from    []byte // the state that came last

	N       int    // lines so far
	History []Line // the last of them
}

const history = 1000 // lines that a room remembers

// Serve answers GET /chat/:room: who joins gets the last ten lines and everything
// that is said from then on.
func (c *Chat) Serve(w http.ResponseWriter, r *http.Request, name string) {
	group := conns.Group(r.Context(), "chat/"+name)
	room := c.enter(name, group)
	defer room.leave()
	_, moved := conns.Resumed(r.Context())
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	room.join(ws, moved)
	defer room.part(ws)
	for {
		_, text, err := ws.ReadMessage()
		if err != nil {
			return
		}
		room.say(string(text))
	}
}

// enter finds a room, or opens it with what it was in the process it comes from,
// and counts who enters. That is done before the connection is upgraded: when the
// first of the members that have moved says something here, all are counted.
func (c *Chat) enter(name string, group *conns.Members) *Room {
	c.mu.Lock()
	room := c.rooms[name]
	if room == nil {
		room = &Room{members: map[*gorilla.Conn]bool{}}
		c.rooms[name] = room
	}
	c.mu.Unlock()
	group.Save(room.save)
	state, moved := group.Resumed()
	room.mu.Lock()
	defer room.mu.Unlock()
	if moved {
		room.goOn(state)
	}
	room.online++
	return room
}

// goOn makes the room what it was in the process it comes from, for the first of
// those who come. Another state comes after an attempt that has failed, when the
// room has gone on elsewhere; one with fewer lines is of such an attempt, and late.
func (r *Room) goOn(state []byte) {
	if bytes.Equal(state, r.from) {
		return
	}
	r.from = state
	var was Room
	if err := json.Unmarshal(state, &was); err != nil || was.N <= r.N {
		return
	}
	r.N, r.History, r.moved = was.N, was.History, was.N
}

// leave is not called in the process that a member has moved from, where it is no
// longer anybody's business.
func (r *Room) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.online--
}

// save is called when no member can say anything. What has been said was written
// to every member: say does that under the lock.
func (r *Room) save() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	state, _ := json.Marshal(r) // cannot fail
	return state
}

// join sends what the new member has not had, and from then on everything.
func (r *Room) join(ws *gorilla.Conn, moved bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	had := max(0, r.N-10)
	if moved {
		had = r.moved
	}
	for _, line := range r.History {
		if line.N > had {
			write(ws, line)
		}
	}
	r.members[ws] = true
}

func (r *Room) part(ws *gorilla.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, ws)
}

func (r *Room) say(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.N++
	line := Line{r.N, text, r.online}
	r.History = append(r.History, line)
	if len(r.History) > history {
		r.History = r.History[1:]
	}
	for ws := range r.members {
		write(ws, line)
	}
}

// write gives up a member that takes nothing for a while: the others wait for it.
func write(ws *gorilla.Conn, line Line) {
	ws.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if err := ws.WriteJSON(line); err != nil {
		ws.Close() // its Read fails, and it leaves
	}
}
