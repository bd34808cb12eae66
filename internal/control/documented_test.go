package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
)

// TestAnswersAreDocumented asks for everything that the served document has, with
// nothing left out of any answer, and holds what comes against it.
func TestAnswersAreDocumented(t *testing.T) {
	f := &fake{all: &client.Overview{}}
	full(reflect.ValueOf(f.all).Elem(), 0)
	f.all.Services[0].Service = "shop"
	f.act = func(_ context.Context, action, service string) (client.Report, error) {
		var e client.Event
		full(reflect.ValueOf(&e).Elem(), 0)
		e.Service, e.Kind = "shop", client.EventStep
		f.publish(e)
		r := *e.Report
		r.Service, r.Action = service, action
		f.publish(client.Event{Kind: client.EventReport, Report: &r})
		return r, nil
	}
	f.restart = func(ctx context.Context, _ client.RestartRequest) (client.Report, error) {
		return f.act(ctx, "restart", "shop")
	}
	f.upgrade = func(ctx context.Context, _ client.UpgradeRequest) error {
		f.act(ctx, "upgrade", "")
		f.heard(t)
		return errors.New("cannot upgrade; do something else")
	}
	f.logs = func(_ context.Context, _ client.LogsRequest, w io.Writer) error {
		_, err := io.WriteString(w, "a line\n")
		return err
	}
	a := &asker{t: t, socket: serve(t, f)}
	_, _, body := a.ask("GET", "/v1/openapi.json", "", "", false)
	if err := json.Unmarshal(body, &a.document); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for path, of := range a.document["paths"].(object) {
		for method, op := range of.(object) {
			asked++
			a.operation(strings.ToUpper(method), path, op.(object))
		}
	}
	if n := len((&Server{backend: f}).routes()); asked != n || n < 13 {
		t.Errorf("%d operations are documented, of %d routes", asked, n)
	}
}

// asker holds answers against a document.
type asker struct {
	t        *testing.T
	socket   string
	document object
}

func (a *asker) operation(method, path string, op object) {
	where := method + " " + path
	concrete := strings.ReplaceAll(path, "{service}", "shop")
	answers := op["responses"].(object)
	for kind, content := range answers["200"].(object)["content"].(object) {
		schema := content.(object)["schema"].(object)
		status, got, data := a.ask(method, concrete, "", kind, strings.HasSuffix(path, "/events"))
		if want, _, _ := mime.ParseMediaType(kind); status != http.StatusOK || got != want {
			a.t.Errorf("%s: %d %s, want %s", where, status, got, want)
			continue
		}
		values, err := split(got, data)
		if err != nil || len(values) == 0 {
			a.t.Errorf("%s: %d values, %v", where, len(values), err)
		}
		for _, v := range values {
			a.hold(where, schema, v)
		}
	}
	// A refusal: of a parameter or a field that is not there.
	body := ""
	if method == http.MethodPost {
		body = `{"nonsense":1}`
	} else if op["parameters"] == nil {
		return // nothing can be wrong with it
	} else {
		concrete += "?nonsense=1"
	}
	status, kind, data := a.ask(method, concrete, body, "", false)
	values, err := split(kind, data)
	if status != http.StatusBadRequest || err != nil || len(values) != 1 {
		a.t.Errorf("%s: nonsense was answered with %d %s", where, status, data)
		return
	}
	a.hold(where, answers["default"].(object)["content"].(object)["application/json"].(object)["schema"].(object), values[0])
}

// ask returns the answer, or of an endless one the first event.
func (a *asker) ask(method, path, body, accept string, endless bool) (int, string, []byte) {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", a.socket)
	}}
	req, err := http.NewRequestWithContext(a.t.Context(), method, "http://x"+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		a.t.Errorf("%s %s: %v", method, path, err)
	}
	var data []byte
	if endless {
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			data = append(append(data, s.Bytes()...), '\n')
			if strings.Contains(s.Text(), "{") {
				break
			}
		}
	} else if data, err = io.ReadAll(resp.Body); err != nil {
		a.t.Errorf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, kind, data
}

// split takes an answer apart into values.
func split(kind string, data []byte) (values []any, err error) {
	if kind == "text/plain" {
		return []any{string(data)}, nil
	}
	for line := range strings.Lines(string(data)) {
		if kind == sse {
			field := false
			if line, field = strings.CutPrefix(line, "data: "); !field {
				continue
			}
		} else if kind == "application/json" {
			line = string(data)
		}
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			return values, err
		}
		if values = append(values, v); kind == "application/json" {
			break
		}
	}
	return values, nil
}

// hold says what of v is not as the schema has it.
func (a *asker) hold(where string, schema object, v any) {
	for _, wrong := range a.check(where, schema, v) {
		a.t.Error(wrong)
	}
}

func (a *asker) check(where string, schema object, v any) (wrong []string) {
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		return a.check(where+" "+name, a.document["components"].(object)["schemas"].(object)[name].(object), v)
	}
	if choices, ok := schema["oneOf"].([]any); ok {
		for _, c := range choices {
			these := a.check(where, c.(object), v)
			if len(these) == 0 {
				return nil
			}
			wrong = append(wrong, these...)
		}
		return wrong
	}
	kind := map[reflect.Kind]string{reflect.Map: "object", reflect.Slice: "array", reflect.String: "string", reflect.Bool: "boolean", reflect.Float64: "integer", reflect.Invalid: "null"}[reflect.ValueOf(v).Kind()]
	if kinds, several := schema["type"].([]any); kind != schema["type"] && !(several && slices.Contains(kinds, any(kind))) {
		return []string{fmt.Sprintf("%s: %v is %s, not %v", where, v, kind, schema["type"])}
	}
	switch v := v.(type) {
	case string:
		if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, any(v)) {
			wrong = append(wrong, fmt.Sprintf("%s: %q is not one of %v", where, v, enum))
		}
		if schema["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339, v); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s: %v", where, err))
			}
		}
	case []any:
		for _, item := range v {
			wrong = append(wrong, a.check(where+"[]", schema["items"].(object), item)...)
		}
	case object:
		wrong = append(wrong, a.checkObject(where, schema, v)...)
	}
	return wrong
}

func (a *asker) checkObject(where string, schema, v object) (wrong []string) {
	properties, _ := schema["properties"].(object)
	rest, _ := schema["additionalProperties"].(object)
	for name, field := range v {
		switch of, ok := properties[name].(object); {
		case ok:
			wrong = append(wrong, a.check(where+"."+name, of, field)...)
		case rest != nil:
			wrong = append(wrong, a.check(where+"."+name, rest, field)...)
		case properties != nil:
			wrong = append(wrong, fmt.Sprintf("%s.%s is not documented", where, name))
		}
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s.%s is missing", where, name))
		}
	}
	return wrong
}

// full leaves no field without a value, so that none is left out.
func full(v reflect.Value, depth int) {
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)))
		return
	case reflect.TypeFor[client.State]():
		v.SetString(string(client.Serving))
		return
	case reflect.TypeFor[client.Role]():
		v.SetString(string(client.RoleServing))
		return
	case reflect.TypeFor[client.Outcome]():
		v.SetString(string(client.Done))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("words")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		if depth < 6 { // a report has parts
			v.Set(reflect.New(v.Type().Elem()))
			full(v.Elem(), depth+1)
		}
	case reflect.Slice:
		if depth < 6 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			full(v.Index(0), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]int{"words": 7}))
	case reflect.Struct:
		for i := range v.NumField() {
			full(v.Field(i), depth+1)
		}
	}
}
