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
		names = append(names, fieldName(t.Field(i)))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// readQuery reads a query into v, which points to a struct of strings, numbers
// and booleans, as strictly as readBody reads a body.
func readQuery(q url.Values, v any) error {
	s := reflect.ValueOf(v).Elem()
	fields := map[string]reflect.Value{}
	for i := range s.NumField() {
		fields[fieldName(s.Type().Field(i))] = s.Field(i)
	}
	for key, values := range q {
		field, ok := fields[key]
		if !ok {
			return badQuery(v, "unknown parameter %q", key)
		}
		if len(values) != 1 {
			return badQuery(v, "%s stands in the query %d times", key, len(values))
		}
		switch field.Kind() {
		case reflect.String:
			field.SetString(values[0])
		case reflect.Int:
			n, err := strconv.Atoi(values[0])
			if err != nil {
				return badQuery(v, "%s=%q is not a number", key, values[0])
			}
			field.SetInt(int64(n))
		case reflect.Bool:
			if !slices.Contains([]string{"", "0", "1"}, values[0]) {
				return badQuery(v, "%s=%q is neither 0 nor 1", key, values[0])
			}
			field.SetBool(values[0] != "0")
		}
	}
	return nil
}

func badQuery(v any, format string, args ...any) error {
	return newRefusal(http.StatusBadRequest, "cannot read the request: "+fmt.Sprintf(format, args...), "its parameters are "+fieldsOf(v))
}
