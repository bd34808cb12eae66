package conns

import (
	"fmt"
	"net/http"
	"time"
)

// replay is the first request of a connection that has moved here: it is served
// once more, and its answer is compared with the one that the client has had.
// Conn.gate guards it.
type replay struct {
	state      []byte
	born       time.Time // the connection, as one that is live
	want       answer
	swallowing bool
	judge      func(reason string) // once; nil when it is judged
}

func (r *replay) swallows() bool { return r != nil && r.swallowing }

// verdict ends the trial of the connection; "" is yes.
func (r *replay) verdict(reason string) {
	if r.judge != nil {
		r.judge(reason)
		r.judge = nil
	}
}

// swallow takes what belongs to the head of the answer and returns how much
// that is.
func (c *Conn) swallow(l *live, p []byte) int {
	n := l.out.next(p)
	if !l.out.answer.done {
		return n
	}
	reason := l.disagrees()
	if reason == "" {
		l.replay.swallowing = false
		l.replay.verdict("")
		return n
	}
	if l.replay.judge == nil { // it was taken for granted: an event stream that was silent at first
		l.replay.swallowing = false
		l.broken = fmt.Errorf("this request %s when it was served again", reason)
		go c.endStream(c.hold.Load())
		return len(p)
	}
	l.replay.verdict(reason)
	return len(p)
}

// endStream ends an event stream that cannot go on, so that the client comes
// back, once it is this process's to end.
func (c *Conn) endStream(h *hold) {
	if h != nil {
		<-h.decided
		if outcome(h.outcome.Load()) != thawed {
			return
		}
	}
	c.stream.Write([]byte(lastChunk))
	c.Close()
}

// disagrees says in what the new answer differs from the old one.
func (l *live) disagrees() string {
	got, want := l.out.answer, l.replay.want
	if l.kind == kindSSE {
		head := l.out.events.head
		switch {
		case head.status != http.StatusOK:
			return fmt.Sprintf("was answered %d", head.status)
		case !head.eventStream || !head.chunked || head.encoded:
			return "was not answered with a plain event stream"
		}
		return ""
	}
	switch {
	case got.status != want.status:
		return fmt.Sprintf("was answered %d", got.status)
	case got.protocol != want.protocol:
		return fmt.Sprintf("was answered with subprotocol %q in place of %q", got.protocol, want.protocol)
	case got.extensions != want.extensions:
		return fmt.Sprintf("was answered with extensions %q in place of %q", got.extensions, want.extensions)
	}
	return ""
}
