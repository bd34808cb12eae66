package client

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// line is one line of a stream: an event, or, as the last one, a refusal that
// came when the stream had begun.
type line struct {
	Event
	Message string `json:"error"`
	Hint    string `json:"hint"`
}

type stream struct{ s *bufio.Scanner }

// newStream reads newline-delimited JSON.
func newStream(r io.Reader) *stream {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxAnswer)
	return &stream{s}
}

// next is the next line; [io.EOF] after the last one. Fields it does not know
// are of a newer supervisor, and no error.
func (s *stream) next() (line, error) {
	var l line
	if !s.s.Scan() {
		if err := s.s.Err(); err != nil {
			return l, err
		}
		return l, io.EOF
	}
	if err := json.Unmarshal(s.s.Bytes(), &l); err != nil {
		return l, fmt.Errorf("a line is not an event: %w", err)
	}
	return l, nil
}
