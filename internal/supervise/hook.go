package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segue-go/segue/client"
)

const (
	hookTimeout  = 30 * time.Second
	hooksWaiting = 64 // notices that a hook may be behind
	hooksEnd     = 10 * time.Second
)

// notice is what a hook gets as JSON.
type notice struct {
	Time       time.Time      `json:"time"`
	Host       string         `json:"host,omitempty"`
	Service    string         `json:"service"`
	Occasion   Occasion       `json:"occasion"`
	Generation int            `json:"generation,omitempty"`
	Reason     string         `json:"reason"`
	Report     *client.Report `json:"report,omitempty"` // of a restart that was rolled back
}

// hooks tells the hooks of one service. Each has a queue and, from the first that it
// is told on, a goroutine of its own: it is told of one thing after the other, and
// does not wait for the others.
type hooks struct {
	publish func(client.Event)
	post    poster
	timeout time.Duration // of a command
	end     time.Duration // for all that is still to be told when the service ends
	queues  map[string]chan errand
	running sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelCauseFunc
}

// errand is what a hook is to be told, and how.
type errand struct {
	notice
	hook   Hook
	config Config
}

func newHooks(publish func(client.Event)) *hooks {
	h := &hooks{publish: publish, post: newPoster(), timeout: hookTimeout, end: hooksEnd, queues: map[string]chan errand{}}
	h.ctx, h.cancel = context.WithCancelCause(context.Background())
	return h
}

// tell is for the loop of the service: it does not wait. Each of the hooks of c is
// told once, of the first of the occasions that it is for.
func (h *hooks) tell(c Config, n notice, occasions ...Occasion) {
	n.Time, n.Service = time.Now(), c.Name
	n.Host, _ = os.Hostname()
	for _, hook := range c.Hooks {
		if n.Occasion = hook.choose(occasions); n.Occasion == "" {
			continue
		}
		select {
		case h.queue(hook) <- errand{n, hook, c}:
		default:
			h.problem(n, "the hook %s is not told of the %s: it is %d behind", hook, n.Occasion, hooksWaiting)
		}
	}
}

func (h *hooks) queue(hook Hook) chan<- errand {
	key := fmt.Sprintf("%q %q", hook.URL, hook.Command)
	q := h.queues[key]
	if q == nil {
		q = make(chan errand, hooksWaiting)
		h.queues[key] = q
		h.running.Go(func() {
			for e := range q {
				if err := h.run(e); err != nil {
					h.problem(e.notice, "the hook %s was not told of the %s: %w", e.hook, e.Occasion, err)
				}
			}
		})
	}
	return q
}

// close returns when everything was told, or the time for that is over. Nothing may
// be told any more.
func (h *hooks) close() {
	for _, q := range h.queues {
		close(q)
	}
	late := time.AfterFunc(h.end, func() { h.cancel(errors.New("the service has ended")) })
	h.running.Wait()
	late.Stop()
	h.cancel(nil)
}

func (h *hooks) problem(n notice, format string, args ...any) {
	h.publish(client.Event{Kind: client.EventProblem, Generation: n.Generation, Text: fmt.Errorf(format, args...).Error()})
}

// choose is what the hook is told of, "" if nothing.
func (h Hook) choose(occasions []Occasion) Occasion {
	i := slices.IndexFunc(occasions, func(o Occasion) bool { return len(h.On) == 0 || slices.Contains(h.On, o) })
	if i < 0 {
		return ""
	}
	return occasions[i]
}

// String is for errors. An address may be a secret as a whole: only its host is shown.
func (h Hook) String() string {
	if h.URL != "" {
		return shown(h.URL)
	}
	return strings.Join(h.Command, " ")
}

func (h *hooks) run(e errand) error {
	if h.ctx.Err() != nil {
		return context.Cause(h.ctx)
	}
	data, err := json.Marshal(e.notice)
	if err != nil {
		return fmt.Errorf("cannot write it as JSON: %w", err)
	}
	if e.hook.URL != "" {
		return h.post.send(h.ctx, e.hook.URL, data)
	}
	ctx, cancel := context.WithTimeoutCause(h.ctx, h.timeout, fmt.Errorf("it was not over within %v", h.timeout))
	defer cancel()
	return command{as: e.config, argv: e.hook.Command, input: append(data, '\n'), env: e.environ(), generation: e.Generation}.run(ctx)
}

func (n notice) environ() []string {
	return []string{
		"SEGUE_OCCASION=" + string(n.Occasion), "SEGUE_SERVICE=" + n.Service,
		"SEGUE_REASON=" + strings.ReplaceAll(n.Reason, "\x00", ""), // which ends a variable
	}
}
