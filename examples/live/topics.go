package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/segue-go/segue/conns"
)

// TopicEvent is what a subscriber gets.
type TopicEvent struct {
	Topic string `json:"topic"`
	N     int    `json:"n"`
	Text  string `json:"text"`
}

// ServeTopics answers GET /topics: a client sends "sub NAME" and gets every event
// of that topic from then on. What it has subscribed to is in no request, so it
// is saved, with the number of the last event that was sent, and taken up from
// there.
func (b *Bus) ServeTopics(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	s := &subscriber{at: map[string]int{}, woken: make(chan struct{}, 1)}
	if saved, moved := conns.Resumed(ctx); moved && json.Unmarshal(saved, &s.at) != nil {
		http.Error(w, "what was saved is not mine", http.StatusInternalServerError)
		return // refused: the connection stays where it was
	}
	conns.Save(ctx, s.save)
	conns.Stayed(ctx, s.goOn)
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	s.c = c

	ctx, cancel := context.WithCancel(ctx)
	var deliver sync.WaitGroup
	deliver.Go(func() { s.deliver(ctx, b) })
	defer deliver.Wait()
	defer cancel()
	for {
		_, message, err := c.Read(ctx)
		if err != nil {
			return
		}
		if topic, ok := strings.CutPrefix(string(message), "sub "); ok {
			s.subscribe(ctx, topic, b.Newest(topic))
		}
	}
}

// subscriber is one connection.
type subscriber struct {
	c     *websocket.Conn
	woken chan struct{} // subscribed to something, or stays

	mu    sync.Mutex     // held while writing: nothing is half sent when save has it
	at    map[string]int // number of the last event sent, by topic
	saved bool
}

// subscribe answers with the number after which the topic's events follow.
func (s *subscriber) subscribe(ctx context.Context, topic string, newest int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.at[topic]; !twice {
		s.at[topic] = newest
	}
	_ = s.send(ctx, TopicEvent{Topic: topic, N: s.at[topic], Text: "subscribed"})
	s.wake()
}

// save is called when the connection is about to move. From then on the new
// process sends what is published; this one would send it a second time.
func (s *subscriber) save() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = true
	state, _ := json.Marshal(s.at) // cannot fail
	return state
}

// goOn is called when the connection stays after all.
func (s *subscriber) goOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = false
	s.wake()
}

// wake has deliver look again.
func (s *subscriber) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// deliver sends what is published, until ctx ends or the client is too slow.
func (s *subscriber) deliver(ctx context.Context, b *Bus) {
	for {
		changed, err := s.deliverNew(ctx, b)
		if err != nil {
			s.c.CloseNow()
			return
		}
		select {
		case <-changed:
		case <-s.woken:
		case <-ctx.Done():
			return
		}
	}
}

func (s *subscriber) deliverNew(ctx context.Context, b *Bus) (changed <-chan struct{}, err error) {
	_, changed = b.After("", 0) // before looking: what comes while looking is announced
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saved {
		return changed, nil
	}
	for topic := range s.at {
		events, _ := b.After(topic, s.at[topic])
		for _, text := range events {
			if err := s.send(ctx, TopicEvent{topic, s.at[topic] + 1, text}); err != nil {
				return nil, err
			}
			s.at[topic]++
		}
	}
	return changed, nil
}

func (s *subscriber) send(ctx context.Context, e TopicEvent) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return wsjson.Write(ctx, s.c, e)
}
