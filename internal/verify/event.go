package verify

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// maxEvent bounds one event, so that a service cannot fill the client's memory.
const maxEvent = 1 << 20

var errEventTooLong = errors.New("an event is longer than a megabyte")

// event is one server-sent event.
type event struct {
	name string // "" means message
	id   string
	data string
}

// eventReader parses an event stream as the HTML standard has it, section
// "Interpreting an event stream": lines end in LF, CRLF or CR, an event ends
// with an empty line, an event without data is not one, and what the stream's
// end leaves incomplete is dropped.
type eventReader struct {
	in    *bufio.Reader
	id    string        // stays until another one comes
	retry time.Duration // the last one asked for, with an event or without
	lf    bool          // the last line ended in CR: an LF that follows belongs to it
}

func newEventReader(r io.Reader) *eventReader { return &eventReader{in: bufio.NewReader(r)} }

// next returns the next event; io.EOF when the stream has ended in an orderly way.
func (r *eventReader) next() (event, error) {
	var data []string
	name := "" // an event's own, unlike the id
	size := 0
	for {
		line, err := r.line()
		if err != nil {
			return event{}, err
		}
		if size += len(line) + 1; size > maxEvent {
			return event{}, errEventTooLong
		}
		if line == "" {
			if data == nil {
				size, name = 0, ""
				continue
			}
			return event{name: name, id: r.id, data: strings.Join(data, "\n")}, nil
		}
		field, value, _ := strings.Cut(line, ":") // a comment is a field without a name
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "data":
			data = append(data, value)
		case "event":
			name = value
		case "id":
			if !strings.Contains(value, "\x00") {
				r.id = value
			}
		case "retry":
			if ms, err := strconv.ParseUint(value, 10, 31); err == nil {
				r.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// line returns a line without its end.
func (r *eventReader) line() (string, error) {
	var b []byte
	for {
		c, err := r.in.ReadByte()
		if err != nil {
			return "", err // also for a part of a line, which is dropped
		}
		after := r.lf
		r.lf = c == '\r'
		switch {
		case c == '\n' && after:
			continue
		case c == '\n' || c == '\r':
			return string(b), nil
		}
		if b = append(b, c); len(b) > maxEvent {
			return "", errEventTooLong
		}
	}
}
