package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// valid says why v is not what the schema s says: what of JSON schema Schema uses.
// Anything else is refused, so that nothing is passed over.
func valid(root, s map[string]any, v any, path string) error {
	fail := func(format string, args ...any) error { return fmt.Errorf(path+": "+format, args...) }
	for word, says := range s {
		switch word {
		case "$schema", "$id", "$defs", "title", "description", "default":
		case "$ref":
			name := strings.TrimPrefix(says.(string), "#/$defs/")
			if err := valid(root, root["$defs"].(map[string]any)[name].(map[string]any), v, path); err != nil {
				return err
			}
		case "anyOf":
			var errs []error
			for _, one := range says.([]any) {
				errs = append(errs, valid(root, one.(map[string]any), v, path))
			}
			if !slices.Contains(errs, nil) {
				return errors.Join(errs...)
			}
		case "type":
			types, several := says.([]any)
			if !several {
				types = []any{says}
			}
			if !slices.ContainsFunc(types, func(t any) bool { return is(t.(string), v) }) {
				return fail("%v is no %v", v, says)
			}
		case "const":
			if !reflect.DeepEqual(says, v) {
				return fail("%v is not %v", v, says)
			}
		case "enum":
			if !slices.Contains(says.([]any), v) {
				return fail("%v is not one of %v", v, says)
			}
		case "pattern":
			if text, ok := v.(string); ok && !regexp.MustCompile(says.(string)).MatchString(text) {
				return fail("%q does not match %s", text, says)
			}
		case "minimum":
			if n, ok := v.(float64); ok && n < says.(float64) {
				return fail("%v is too small", n)
			}
		case "maximum":
			if n, ok := v.(float64); ok && n > says.(float64) {
				return fail("%v is too large", n)
			}
		case "items":
			list, _ := v.([]any)
			for i, e := range list {
				if err := valid(root, says.(map[string]any), e, fmt.Sprintf("%s[%d]", path, i)); err != nil {
					return err
				}
			}
		case "minItems":
			if list, ok := v.([]any); ok && len(list) < int(says.(float64)) {
				return fail("it has too few")
			}
		case "required":
			object, ok := v.(map[string]any)
			for _, name := range says.([]any) {
				if _, there := object[name.(string)]; ok && !there {
					return fail("%s is not there", name)
				}
			}
		case "properties", "patternProperties", "additionalProperties", "propertyNames":
		default:
			return fail("the test does not know %s", word)
		}
	}
	object, _ := v.(map[string]any)
	properties, _ := s["properties"].(map[string]any)
	for name, value := range object {
		at := path + "." + name
		if names, ok := s["propertyNames"].(map[string]any); ok {
			if err := valid(root, names, name, at); err != nil {
				return err
			}
		}
		known, there := properties[name].(map[string]any)
		others, _ := s["additionalProperties"].(map[string]any)
		_, extra := s["patternProperties"].(map[string]any)
		switch {
		case there:
			if err := valid(root, known, value, at); err != nil {
				return err
			}
		case others != nil:
			if err := valid(root, others, value, at); err != nil {
				return err
			}
		case s["additionalProperties"] == false && !(extra && strings.HasPrefix(name, "x-")):
			return fmt.Errorf("%s: there is no such key", at)
		}
	}
	return nil
}

func is(kind string, v any) bool {
	switch kind {
	case "object":
		_, ok := v.(map[string]any)
		return ok
	case "array":
		_, ok := v.([]any)
		return ok
	case "string":
		_, ok := v.(string)
		return ok
	case "boolean":
		_, ok := v.(bool)
		return ok
	case "integer", "number":
		n, ok := v.(float64)
		return ok && (kind == "number" || n == float64(int64(n)))
	}
	return false
}

// againstSchema is what an editor would say of a file.
func againstSchema(t *testing.T, text string) error {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		return err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var plain any
	if err := json.Unmarshal(data, &plain); err != nil {
		t.Fatal(err)
	}
	return valid(root, root, plain, "file")
}

// TestSchemaAgrees: what is read is what an editor accepts, and most of what is
// wrong an editor shows: all but what is not there, and what two values must have
// in common.
func TestSchemaAgrees(t *testing.T) {
	text := unpackExample(t)
	if _, err := Read("segue.yaml"); err != nil {
		t.Fatal(err)
	}
	if err := againstSchema(t, text); err != nil {
		t.Errorf("an editor does not accept the example: %v", err)
	}
	for _, c := range []struct{ old, new string }{
		{"dir: .", "dri: ."}, {"trial: 2s", "trial: 2"}, {"trial: 2s", "trial: 2d"}, {"instances: 2", "instances: 0"},
		{"instances: 2", "instances: two"}, {"restart: always", "restart: sometimes"}, {"[3]", "[300]"}, {"16MB", "16XB"},
		{"on: [rollback,", "on: [rolback,"}, {"{nofile:", "{nofiles:"}, {`"027"`, `"099"`}, {"http: /healthz", "http: healthz"},
		{"  jobs:\n", "  Jobs:\n"}, {"version: 1", "version: 2"}, {"autostart: false", "autostart: no-thanks"},
		{"    command: \"./jobs --queue 'mail and print'\"\n", ""}, {"admin: {unix:", "admin: {path:"}, {"limit: unlimited", "limit: none"},
	} {
		bad := strings.Replace(text, c.old, c.new, 1)
		if bad == text {
			t.Fatalf("the example does not have %s", c.old)
		}
		if againstSchema(t, bad) == nil {
			t.Errorf("an editor accepts %s", c.new)
		}
		if _, err := Parse("segue.yaml", []byte(bad)); err == nil {
			t.Errorf("%s is read", c.new)
		}
	}
	for _, ok := range []string{"trial: ${TRIAL}", "trial: 0", "trial: 1m30s", "env: {A: 1, B: true, C: x}", "limits: {nofile: ${N}, as: unlimited}",
		"exit_codes: 3", "umask: 027", "logs: {size: unlimited}", "sockets: {a: unix:/x, b: {unix: /x}}", "depends_on: x", "depends_on: [x]",
		"backoff: {limit: 3}", "stop_signal: SIGTERM", "autostart: ${A:-true}"} {
		ok = regexp.MustCompile(`\$\{[^}]*\}`).ReplaceAllString(ok, `"$0"`)
		if err := againstSchema(t, "services:\n  web:\n    command: [./shop, 1]\n    "+ok); err != nil {
			t.Errorf("an editor does not accept %s: %v", ok, err)
		}
	}
	unpack(t)
	if err := againstSchema(t, string(Template("."))); err != nil {
		t.Errorf("an editor does not accept the template: %v", err)
	}
}
