package supervise

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/segue-go/segue/client"
)

// dumpPatience is how long a silent generation may write down what it was at.
const dumpPatience = 2 * time.Second

// watchdog waits for the signs of life of one generation (WATCHDOG=1 in
// sd_notify(3)), from READY until it is told to leave: what comes before and after
// has budgets of its own. nil is a generation without one.
//
// A generation is not silent because nobody listened, or because nobody could
// speak: the supervisor may have been stopped, or the whole machine. So what is
// waiting to be read is read first, and then the generation is given another
// moment, which counts only if it was not much longer than it should have been.
type watchdog struct {
	interval time.Duration
	pinged   chan struct{}
	tripped  chan struct{}
	over     chan struct{} // the generation leaves, or has ended
	endOnce  sync.Once
	now      func() time.Time

	mu     sync.Mutex
	reason string // why it has ended the generation
}

func newWatchdog(interval time.Duration) *watchdog {
	if interval <= 0 {
		return nil
	}
	return &watchdog{interval: interval, pinged: make(chan struct{}, 1), tripped: make(chan struct{}, 1), over: make(chan struct{}), now: time.Now}
}

// usec is what the generation is told.
func (w *watchdog) usec() string {
	if w == nil {
		return ""
	}
	return strconv.FormatInt(max(1, w.interval.Microseconds()), 10)
}

// hear is told of WATCHDOG=1, and of WATCHDOG=trigger: the generation has found
// out itself that it is not well.
func (w *watchdog) hear(what string) {
	if w == nil {
		return
	}
	c := w.pinged
	if what == "trigger" {
		c = w.tripped
	}
	select {
	case c <- struct{}{}:
	default:
	}
}

// end ends the watch.
func (w *watchdog) end() {
	if w != nil {
		w.endOnce.Do(func() { close(w.over) })
	}
}

// wait returns why the generation is to be ended, or "" at the end of the watch.
// settle returns when everything that was said before has been heard, or an error.
func (w *watchdog) wait(ready <-chan struct{}, settle func() error) string {
	select {
	case <-ready:
	case <-w.over:
		return ""
	}
	const asked = "it asked for its end"
	silence := fmt.Sprintf("said nothing for %v", w.interval)
	moment := min(max(w.interval/10, 100*time.Millisecond), time.Second)
	t := time.NewTimer(w.interval)
	defer t.Stop()
	for last := false; ; {
		wait := w.interval
		if last {
			wait = moment
		}
		t.Reset(wait)
		began := w.now()
		select {
		case <-w.over:
			return ""
		case <-w.tripped:
			return asked
		case <-w.pinged:
			last = false
			continue
		case <-t.C:
		}
		late := w.now().Sub(began) > wait+moment // this process did not run meanwhile
		if err := settle(); err != nil {
			last = false // not known
			continue
		}
		select {
		case <-w.pinged:
			last = false
		default:
			if last && !late {
				return silence
			}
			last = true
		}
	}
}

// blame notes why the generation is ended.
func (w *watchdog) blame(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reason = reason
}

// bit says whether it has ended the generation.
func (w *watchdog) bit() bool { return w.explain(os.ErrProcessDone) != os.ErrProcessDone }

// explain is how the generation ended, with the reason if it was this.
func (w *watchdog) explain(end error) error {
	if w == nil || end == nil {
		return end
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reason == "" {
		return end
	}
	return fmt.Errorf("was ended by its watchdog (%s): %w", w.reason, end)
}

// guard ends g when its watchdog says so: with SIGABRT, which has a Go program
// write down its goroutines, and then with SIGKILL.
func (s *Service) guard(g *generation) {
	reason := g.watchdog.wait(g.ready, s.hub.settle)
	if reason == "" {
		return
	}
	g.watchdog.blame(reason)
	s.bus.publish(client.Event{Kind: client.EventProblem, Generation: g.number, PID: g.process.PID,
		Text: fmt.Sprintf("generation %d is ended by its watchdog: %s; its log says what it was at, if it is a Go program", g.number, reason)})
	g.process.Signal(syscall.SIGABRT)
	if !g.ends(dumpPatience, nil) {
		g.process.Signal(os.Kill)
	}
}
