package conns

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// live is what a connection has while it is more than requests and answers: from
// a request that asks for an upgrade or an event stream until it is idle again.
type live struct {
	kind kind
	path string
	head []byte      // the request, to be served again elsewhere
	req  http.Header // of the request; nil once it was answered
	body bool        // the request had one, which is not kept

	// turn is the right to write. Conn.gate, which comes after it, guards the rest.
	turn     sync.Mutex
	out      outgoing
	writing  bool       // a write is under way
	wrote    bool       // one has succeeded since a departure has looked
	begun    kept       // of a frame: it is written when the rest is there
	broken   error      // what a write ended with: how much the client has is unknown
	late     []byte     // written while the connection was held
	whole    int        // so much of it is whole messages
	inbox    []byte     // whole messages of others than the handler
	room     *sync.Cond // late has become shorter, or the hold was decided
	forward  func(data []byte, end bool)
	replay   *replay // not nil once the connection has moved
	hijacked bool
	ending   atomic.Bool // the client has said goodbye, or what cannot be followed
	declared bool
	in       Framer // of the client's messages, when it is no WebSocket
	save     func() []byte
	again    func()        // see Stayed
	leaving  chan struct{} // made for whoever asks; see Leaving

	left       atomic.Bool        // its turn to be told has come; leaving is, or would be, closed
	farewell   []byte             // what it is told then
	parting    bool               // farewell is to be written at the next boundary
	urgent     bool               // or between two frames of a message
	saying     bool               // it is being written
	said       bool               // it was; nothing more is
	linger     *time.Timer        // how long the client may take to answer that
	cancel     context.CancelFunc // ends the request's context, of an event stream
	heardClose atomic.Bool        // the client has sent a Close frame

	crowded bool        // it is one too many
	born    time.Time   // when it was opened, here or elsewhere
	ping    []byte      // control frames, which may stand between the frames of a message
	stirred atomic.Bool // a message went either way since the watch has looked
	beat    beat        // the watch's

	enlisted atomic.Bool // it has reached a limit, and waits for its turn
}

// lateMost bounds what is kept of writes while a connection is held.
const lateMost = 1 << 20

// newLive returns what is to be remembered of r, or nil of an ordinary request.
func newLive(c *Conn, r *http.Request, k kind) *live {
	if r.ProtoMajor != 1 || k != kindSSE && len(r.Header["Upgrade"]) == 0 {
		return nil
	}
	l := &live{kind: k, path: r.URL.Path, born: time.Now(), req: r.Header, head: requestHead(r), body: r.ContentLength != 0, room: sync.NewCond(&c.gate)}
	if k == kindHTTP1 {
		l.kind = kindOther
	}
	l.out.kind = l.kind
	if id := r.Header.Get("Last-Event-Id"); id != "" && l.kind == kindSSE {
		l.out.events.lastID, l.out.events.hasID = []byte(id), true // the client goes on from there, with whomever
	}
	return l
}

// stir notes that a message is under way, or a part of one.
func (l *live) stir() {
	if !l.stirred.Load() {
		l.stirred.Store(true)
	}
}

// requestHead is the head of r as it came, but for the order and case of its
// fields.
func requestHead(r *http.Request) []byte {
	var b bytes.Buffer
	b.WriteString(r.Method + " " + r.RequestURI + " " + r.Proto + "\r\nHost: " + r.Host + "\r\n")
	r.Header.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// withField replaces a field of a head that requestHead has made.
func withField(head []byte, key, value string) []byte {
	lines := bytes.SplitAfter(head, []byte("\r\n"))
	var b bytes.Buffer
	for i, line := range lines {
		if i == 0 || !bytes.HasPrefix(line, []byte(key+": ")) {
			b.Write(line)
		}
		if i == 0 {
			b.WriteString(key + ": " + value + "\r\n")
		}
	}
	return b.Bytes()
}
