package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/segue-go/segue/client"
)

// maxBody bounds what is read of a request.
const maxBody = 64 << 10

// readBody reads the one JSON value of a request into v, which points to a
// struct. No body at all is its zero value.
func readBody(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		_, err = d.Token()
		if err == nil {
			err = errors.New("more than one value")
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return newRefusal(http.StatusRequestEntityTooLarge,
			fmt.Sprintf("cannot read a request of more than %d bytes", maxBody), "")
	}
	return newRefusal(http.StatusBadRequest,
		"cannot read the request: "+strings.TrimPrefix(err.Error(), "json: "),
		"send one JSON object; its fields are "+fieldsOf(v))
}

// fieldsOf names what a request may have, for people who mistyped one.
func fieldsOf(v any) string {
	t := reflect.TypeOf(v).Elem()
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// readLogsRequest is as strict about a query as readBody is about a body.
func readLogsRequest(q url.Values) (client.LogsRequest, error) {
	var r client.LogsRequest
	bad := func(format string, args ...any) (client.LogsRequest, error) {
		return client.LogsRequest{}, newRefusal(http.StatusBadRequest, "cannot read the request: "+fmt.Sprintf(format, args...),
			"as in /v1/logs?generation=3&follow=1&label=1")
	}
	for key, values := range q {
		if len(values) != 1 {
			return bad("%s stands in the query %d times", key, len(values))
		}
		var err error
		switch key {
		case "generation":
			if r.Generation, err = strconv.Atoi(values[0]); err != nil || r.Generation < 0 {
				return bad("generation=%q is not the number of a generation", values[0])
			}
		case "follow", "label":
			if !slices.Contains([]string{"", "0", "1"}, values[0]) {
				return bad("%s=%q is neither 0 nor 1", key, values[0])
			}
			if key == "follow" {
				r.Follow = values[0] != "0"
			} else {
				r.Label = values[0] != "0"
			}
		default:
			return bad("unknown parameter %q", key)
		}
	}
	return r, nil
}
