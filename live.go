package segue

import (
	"fmt"
	"strings"
	"time"

	"github.com/segue-go/segue/conns"
)

// liveTick is how often a service looks whether its live connections are others
// than it has said.
const liveTick = 2 * time.Second

// tellLive says which WebSockets, event streams and other upgraded connections
// there are: an event for each server where a number has changed, and the status
// with all of them. It is the loop's. While the service drains its status is the
// drain's to say.
func (m *machine) tellLive() {
	if m.phase == Starting || m.phase >= Closing {
		return
	}
	changed := m.outdated.Swap(false)
	m.live = conns.Live{}
	for _, s := range m.app.servers {
		if s.http == nil {
			continue
		}
		if now := s.http.Stats().Live; now != s.told {
			s.told, changed = now, true
			m.out.emit(LiveConnections{Server: s.name, Live: now})
		}
		m.live = sum(m.live, s.told)
	}
	if changed && m.phase < Draining {
		m.sayStatus()
	}
}

// sayStatus says what the service does and which live connections it has. It is
// the loop's.
func (m *machine) sayStatus(more ...string) {
	m.say(append(more, "STATUS="+withLive(m.status, m.live))...)
}

// sum counts the connections of two servers together.
func sum(a, b conns.Live) conns.Live {
	state := func(a, b conns.LiveState) conns.LiveState {
		return conns.LiveState{Normal: a.Normal + b.Normal, Draining: a.Draining + b.Draining}
	}
	return conns.Live{
		WebSocket: state(a.WebSocket, b.WebSocket), SSE: state(a.SSE, b.SSE), Other: state(a.Other, b.Other),
		Closed: a.Closed + b.Closed, MovedIn: a.MovedIn + b.MovedIn, MovedOut: a.MovedOut + b.MovedOut,
		Dead: a.Dead + b.Dead, Expired: a.Expired + b.Expired, Refused: a.Refused + b.Refused,
	}
}

// withLive adds the counts to a status, unless there is nothing to count.
func withLive(status string, l conns.Live) string {
	if l == (conns.Live{}) {
		return status
	}
	return status + "; live connections: " + liveText(l)
}

// liveText is the counts that are not 0, for people.
func liveText(l conns.Live) string {
	var open, ever []string
	for _, k := range []struct {
		kind string
		conns.LiveState
	}{{"websocket", l.WebSocket}, {"sse", l.SSE}, {"other", l.Other}} {
		if n := k.Normal + k.Draining; n > 0 {
			text := fmt.Sprintf("%d %s", n, k.kind)
			if k.Draining > 0 {
				text += fmt.Sprintf(" (%d draining)", k.Draining)
			}
			open = append(open, text)
		}
	}
	for _, t := range []struct {
		what string
		n    uint64
	}{{"closed", l.Closed}, {"moved in", l.MovedIn}, {"moved out", l.MovedOut}, {"dead", l.Dead}, {"expired", l.Expired}, {"refused", l.Refused}} {
		if t.n > 0 {
			ever = append(ever, fmt.Sprintf("%d %s", t.n, t.what))
		}
	}
	if len(open) == 0 {
		open = []string{"none"}
	}
	if len(ever) == 0 {
		return strings.Join(open, ", ")
	}
	return strings.Join(open, ", ") + "; so far " + strings.Join(ever, ", ")
}
