package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/segue-go/segue/client"
)

// refused checks that err is a refusal of what was asked, which says what to do.
func refused(t *testing.T, err error) {
	t.Helper()
	var r refusal
	if !errors.As(err, &r) {
		t.Fatalf("%v (%T) is no refusal", err, err)
	}
	large := r.status == http.StatusRequestEntityTooLarge
	if r.status != http.StatusBadRequest && !large || !strings.HasPrefix(r.told.Message, "cannot read ") || r.told.Hint == "" && !large {
		t.Fatalf("refused with %d: %+v", r.status, r.told)
	}
}

// FuzzReadBody: a body is nothing, or one JSON value without anything unknown
// in it, or refused.
func FuzzReadBody(f *testing.F) {
	for _, s := range []string{
		``, ` `, "\n", `{}`, `null`, `{"binary":"./shop-2"}`, `{"binary":"a"}{"binary":"b"}`, `{"binary":"a"} x`, `{"binary":"a"`,
		`{"binary":"a"}]`, `{"binary":7}`, `{"Binary":"a"}`, `{"binry":"a"}`, `[]`, `7`, `"x"`, `{"binary":"a","binary":"b"}`, "\xef\xbb\xbf{}", "{\"binary\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		read := func(v any) error {
			return readBody(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/restart", bytes.NewReader(body)), v)
		}
		empty := len(bytes.TrimLeft(body, " \t\r\n")) == 0
		var req client.RestartRequest
		switch err := read(&req); {
		case err != nil:
			refused(t, err)
			var same client.RestartRequest
			strict := json.NewDecoder(bytes.NewReader(body))
			strict.DisallowUnknownFields()
			if json.Valid(body) && strict.Decode(&same) == nil && len(body) <= maxBody {
				t.Fatalf("%q was refused: %v", body, err)
			}
		case len(body) > maxBody:
			t.Fatalf("%d bytes were taken", len(body))
		case empty && req != (client.RestartRequest{}):
			t.Fatalf("nothing was read as %+v", req)
		case !empty && !json.Valid(body):
			t.Fatalf("%q was read as %+v", body, req)
		}
		if err := read(&struct{}{}); err != nil { // a stop
			refused(t, err)
		}
	})
}

// TestLargeBodies: what is too large is refused, wherever the value ends.
func TestLargeBodies(t *testing.T) {
	for name, c := range map[string]struct {
		body  string
		taken bool
	}{
		"a value":           {`{"binary":"` + strings.Repeat("x", maxBody) + `"}`, false},
		"nothing":           {strings.Repeat(" ", maxBody+1), false},
		"a value and space": {`{}` + strings.Repeat(" ", maxBody), false},
		"just enough":       {`{}` + strings.Repeat(" ", maxBody-2), true},
	} {
		t.Run(name, func(t *testing.T) {
			err := readBody(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/stop", strings.NewReader(c.body)), &client.RestartRequest{})
			var r refusal
			if c.taken && err != nil || !c.taken && (!errors.As(err, &r) || r.status != http.StatusRequestEntityTooLarge) {
				t.Errorf("%v", err)
			}
		})
	}
}

// FuzzReadQuery: a query is understood to the last parameter, or refused.
func FuzzReadQuery(f *testing.F) {
	for _, s := range []string{
		"", "service=web&generation=3&follow=1&label=1", "generation=0", "generation=-1", "generation=", "generation=1&generation=2",
		"generation=99999999999999999999", "generation=+3", "follow", "follow=0", "follow=yes", "label=", "lable=1", "%zz", "a;b", "=", "service",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, _ := url.ParseQuery(query)
		var r client.LogsRequest
		if err := readQuery(q, &r); err != nil {
			refused(t, err)
			return
		}
		for key := range q {
			if !slices.Contains([]string{"service", "generation", "follow", "label"}, key) {
				t.Fatalf("%q was taken, though there is no parameter %q", query, key)
			}
		}
		n, _ := strconv.Atoi(q.Get("generation"))
		want := client.LogsRequest{
			Service: q.Get("service"), Generation: n,
			Follow: q.Has("follow") && q.Get("follow") != "0", Label: q.Has("label") && q.Get("label") != "0",
		}
		if r != want {
			t.Fatalf("%q was read as %+v", query, r)
		}
	})
}
