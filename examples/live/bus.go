package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Bus stands for what publishes events to every process of a real service, a
// stream of Redis or Kafka for instance: events of a topic have numbers, from 1,
// that are the same in every process, and can be asked for again. Here it is a
// file of lines, "topic text", to which every process appends.
type Bus struct {
	w, r *os.File

	mu      sync.Mutex
	topics  map[string][]string
	changed chan struct{} // closed when there are more
	rest    []byte        // the beginning of a line
}

// OpenBus opens the bus in dir and reads what has been published so far.
func OpenBus(dir string) (*Bus, error) {
	name := filepath.Join(dir, "bus")
	w, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	r, err := os.Open(name)
	if err != nil {
		w.Close()
		return nil, err
	}
	b := &Bus{w: w, r: r, topics: map[string][]string{}, changed: make(chan struct{})}
	return b, b.read()
}

func (b *Bus) Close() error {
	b.w.Close()
	return b.r.Close()
}

// Publish gives the topic one more event. Neither may have a line break.
func (b *Bus) Publish(topic, text string) error {
	if topic == "" || strings.ContainsAny(topic, " \n") || strings.Contains(text, "\n") {
		return fmt.Errorf("cannot publish %q on %q", text, topic)
	}
	_, err := io.WriteString(b.w, topic+" "+text+"\n") // one write(2): lines of two processes do not mix
	return err
}

// Newest is the number of the last event of a topic, 0 if there is none.
func (b *Bus) Newest(topic string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.topics[topic])
}

// After returns the events of a topic with numbers above n, and what is closed
// when there are more, of any topic.
func (b *Bus) After(topic string, n int) (events []string, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if all := b.topics[topic]; n < len(all) {
		events = all[n:]
	}
	return events, b.changed
}

// Follow keeps the bus fresh until ctx ends.
func (b *Bus) Follow(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond) // a real one would tell us
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := b.read(); err != nil {
			return err
		}
	}
}

// read takes over what has been published since.
func (b *Bus) read() error {
	data, err := io.ReadAll(b.r)
	if err != nil || len(data) == 0 {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	data = append(b.rest, data...)
	for {
		line, rest, whole := bytes.Cut(data, []byte{'\n'})
		if !whole {
			b.rest = line
			break
		}
		topic, text, _ := strings.Cut(string(line), " ")
		b.topics[topic] = append(b.topics[topic], text)
		data = rest
	}
	close(b.changed)
	b.changed = make(chan struct{})
	return nil
}
