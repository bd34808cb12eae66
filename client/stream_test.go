package client

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// answering is a supervisor that answers every request with these bytes.
type answering []byte

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Body: io.NopCloser(bytes.NewReader(a)), Request: r}, nil
}

// FuzzStream: whatever comes as events, it is told in order up to the first line
// that is none, and a report is only what was sent as one.
func FuzzStream(f *testing.F) {
	for _, s := range []string{
		"", "\n", "{}", "{}\n", "null\n", "<html>\n", "[]\n", "{}\n\n{}\n", "{\"kind\":\"state\",\"state\":\"serving\"}\r\n{\"kind\":\"problem\"",
		`{"kind":"step","step":{"name":"ready","began":"2024-01-01T00:00:00Z","took_ns":5},"ended":true}` + "\n" + `{"kind":"report","report":{"service":"shop","outcome":"done"}}` + "\n" + `{"kind":"problem"}` + "\n",
		`{"kind":"report"}` + "\n", `{"kind":"report","report":null}` + "\n", `{"kind":"report","report":7}` + "\n",
		`{"error":"no","hint":"ask again"}` + "\n", `{"error":""}` + "\n", `{"time":"yesterday"}` + "\n", `{"kind":"x","mood":"good"}` + "\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &Client{socket: "/run/shop/api.sock", http: &http.Client{Transport: answering(data)}}
		var told []Event
		err := c.Events(t.Context(), "", func(e Event) error { told = append(told, e); return nil })
		lines := bytes.Count(data, []byte("\n"))
		if len(data) > 0 && data[len(data)-1] != '\n' {
			lines++
		}
		switch {
		case len(told) > lines, err == nil && len(told) != lines:
			t.Fatalf("%d events of %d lines, %v", len(told), lines, err)
		case err != nil && !strings.Contains(err.Error(), "cannot read the answer to events from /run/shop/api.sock"):
			t.Fatalf("error %v", err)
		}

		var progress int
		report, err := c.Restart(t.Context(), "shop", RestartRequest{}, func(e Event) {
			if progress < len(told) && e.Kind != told[progress].Kind {
				t.Fatalf("event %d is of kind %q, was %q", progress, e.Kind, told[progress].Kind)
			}
			progress++
		})
		if progress > len(told) {
			t.Fatalf("%d events, %d before", progress, len(told))
		}
		if err == nil {
			if progress == len(told) || told[progress].Report == nil || told[progress].Report.Outcome != report.Outcome {
				t.Fatalf("%q was read as the report %+v", data, report)
			}
			return
		}
		var why *Error
		if !errors.As(err, &why) && !strings.Contains(err.Error(), "a line is not an event") {
			t.Fatalf("error %v (%T)", err, err)
		}
	})
}

// TestLinesWithoutEnd are given up before they fill the memory.
func TestLinesWithoutEnd(t *testing.T) {
	c := &Client{socket: "/run/shop/api.sock", http: &http.Client{Transport: answering(bytes.Repeat([]byte(" "), maxAnswer+1))}}
	err := c.Events(t.Context(), "", func(Event) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "cannot read the answer to events") {
		t.Errorf("got %v", err)
	}
}
