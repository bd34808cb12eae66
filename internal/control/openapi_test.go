package control

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
)

var update = flag.Bool("update", false, "write the OpenAPI document anew")

// TestOpenAPI: the document is what the routes and the types say. `go test
// -update` writes it: what is served, and the copy for people.
func TestOpenAPI(t *testing.T) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(newSpecification(t).document()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"openapi.json", "../../docs/openapi.json"} {
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, b.Bytes()) {
			t.Errorf("%s is not what the code says: go test ./internal/control -run TestOpenAPI -update", path)
		}
	}
}

type object = map[string]any

// specification makes schemas of types, and takes what they are about from the
// comments in the source.
type specification struct {
	schemas object
	about   map[string]string   // of a type, and of its fields as Type.Field
	values  map[string][]string // of a named string type
}

func newSpecification(t *testing.T) *specification {
	s := &specification{schemas: object{}, about: map[string]string{}, values: map[string][]string{}}
	for _, path := range []string{"../../client/types.go", "../../client/errors.go", "events.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if d, ok := d.(*ast.GenDecl); ok {
				for _, spec := range d.Specs {
					s.read(d, spec)
				}
			}
		}
	}
	return s
}

// read remembers what the source says of a type or a constant.
func (s *specification) read(d *ast.GenDecl, spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		name := spec.Name.Name
		s.about[name] = sentence(d.Doc)
		fields, ok := spec.Type.(*ast.StructType)
		if !ok {
			return
		}
		for _, f := range fields.Fields.List {
			for _, n := range f.Names {
				s.about[name+"."+n.Name] = strings.TrimSpace(sentence(f.Doc) + " " + sentence(f.Comment))
			}
		}
	case *ast.ValueSpec:
		kind, ok := spec.Type.(*ast.Ident)
		if !ok || len(spec.Values) != 1 {
			return
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			value := constant.StringVal(constant.MakeFromLiteral(lit.Value, lit.Kind, 0))
			s.values[kind.Name] = append(s.values[kind.Name], value)
			if why := sentence(spec.Comment); why != "" {
				s.about[kind.Name] += "\n* `" + value + "`: " + why
			}
		}
	}
}

var link = regexp.MustCompile(`\[([A-Za-z.]+)\]`)

// sentence is a comment in one line, without the links of godoc.
func sentence(c *ast.CommentGroup) string {
	return link.ReplaceAllString(strings.Join(strings.Fields(c.Text()), " "), "$1")
}

func (s *specification) document() object {
	paths := object{}
	for _, r := range (&Server{backend: &fake{}}).routes() {
		of, ok := paths[r.path].(object)
		if !ok {
			of = object{}
			paths[r.path] = of
		}
		of[strings.ToLower(r.method)] = s.operation(r)
	}
	s.schema(reflect.TypeFor[client.Error]())
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title":   "Segue control API",
			"version": strconv.Itoa(client.APIVersion),
			"description": "What a Segue supervisor answers at its unix socket, <runtime directory>/<name>/api.sock. " +
				"Types gain fields and values, and never change the meaning of one, within a version: a client passes over what it does not know. " +
				"What a client sends must be known.",
		},
		"servers":    []any{object{"url": "http://localhost", "description": "over the unix socket; the host name means nothing"}},
		"paths":      paths,
		"components": object{"schemas": s.schemas},
	}
}

func (s *specification) operation(r route) object {
	who := "For the supervisor's user, root, and readers."
	if r.may == change {
		who = "For the supervisor's user and root."
	}
	words := strings.FieldsFunc(strings.TrimSuffix(r.path, ".json"), func(c rune) bool { return c == '/' })
	id := words[len(words)-1]
	if strings.Contains(r.path, "{service}") {
		id += "Service"
	}
	op := object{
		"operationId": id, "summary": strings.TrimSuffix(r.does, "."), "description": r.does + " " + who,
		"responses": object{
			"200":     object{"description": answers[r.as], "content": s.content(r)},
			"default": object{"description": "Nothing was done, and why.", "content": object{"application/json": object{"schema": s.schema(reflect.TypeFor[client.Error]())}}},
		},
	}
	var parameters []any
	if strings.Contains(r.path, "{service}") {
		parameters = append(parameters, object{
			"name": "service", "in": "path", "required": true, "schema": object{"type": "string"},
			"description": "A service, or an instance of one.",
		})
	}
	switch takes := reflect.TypeOf(r.takes); {
	case r.takes == nil:
	case r.method == http.MethodGet:
		for i := range takes.NumField() {
			parameters = append(parameters, s.parameter(takes, takes.Field(i)))
		}
	default:
		op["requestBody"] = object{"content": object{"application/json": object{"schema": s.schema(takes)}}}
		s.schemas[takes.Name()].(object)["additionalProperties"] = false
	}
	if parameters != nil {
		op["parameters"] = parameters
	}
	return op
}

var answers = map[form]string{
	value:    "The answer.",
	progress: "What happens meanwhile, a line of JSON for each event. The last line is the event with the report, or an error when nothing was done after all.",
	events:   "An event a line; as server-sent events, whose names are the kinds, for who accepts text/event-stream. Whoever comes back after a break begins anew with the present state.",
	text:     "Whole lines.",
	document: "The document.",
}

func (s *specification) content(r route) object {
	var schema object
	if r.gives != nil {
		schema = s.schema(reflect.TypeOf(r.gives))
	}
	switch r.as {
	case progress:
		return object{"application/x-ndjson": object{"schema": object{"oneOf": []any{schema, s.schema(reflect.TypeFor[client.Error]())}}}}
	case events:
		return object{"application/x-ndjson": object{"schema": schema}, sse: object{"schema": schema}}
	case text:
		return object{"text/plain; charset=utf-8": object{"schema": object{"type": "string"}}}
	case document:
		return object{"application/json": object{"schema": object{"type": "object"}}}
	}
	return object{"application/json": object{"schema": schema}}
}

func (s *specification) parameter(t reflect.Type, f reflect.StructField) object {
	schema := s.schema(f.Type)
	if f.Type.Kind() == reflect.Bool {
		schema = object{"type": "string", "enum": []any{"", "0", "1"}} // "" is 1
	}
	p := object{"name": fieldName(f), "in": "query", "schema": schema}
	if about := s.about[t.Name()+"."+f.Name]; about != "" {
		p["description"] = about
	}
	return p
}

// schema is that of a type; those with a name are components.
func (s *specification) schema(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[time.Duration]():
		return object{"type": "integer", "format": "int64", "description": "nanoseconds"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.schema(t.Elem())
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int:
		return object{"type": "integer"}
	case reflect.Slice:
		return object{"type": "array", "items": s.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.schema(t.Elem())}
	case reflect.String:
		if t.Name() == "string" {
			return object{"type": "string"}
		}
	}
	if _, ok := s.schemas[t.Name()]; !ok {
		component := object{}
		s.schemas[t.Name()] = component // types refer to themselves
		s.fill(component, t)
	}
	return object{"$ref": "#/components/schemas/" + t.Name()}
}

func (s *specification) fill(component object, t reflect.Type) {
	if about := s.about[t.Name()]; about != "" {
		component["description"] = about
	}
	if t.Kind() == reflect.String {
		component["type"], component["enum"] = "string", s.values[t.Name()]
		return
	}
	properties, required := object{}, []string{}
	for _, f := range reflect.VisibleFields(t) {
		if !f.IsExported() {
			continue
		}
		p := s.schema(f.Type)
		if about := s.about[t.Name()+"."+f.Name]; about != "" {
			if unit, ok := p["description"]; ok {
				about += fmt.Sprintf("; %v", unit)
			}
			p["description"] = about
		}
		if optional := strings.Contains(f.Tag.Get("json"), ",omitempty"); !optional {
			required = append(required, fieldName(f))
			if f.Type.Kind() == reflect.Slice {
				p["type"] = []any{"array", "null"} // encoding/json: a nil slice
			}
		}
		properties[fieldName(f)] = p
	}
	component["type"], component["properties"] = "object", properties
	if len(required) > 0 {
		component["required"] = required
	}
}
