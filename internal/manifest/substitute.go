package manifest

import (
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// variable is ${NAME} or ${NAME:-default}, or $$, or the beginning of what was to
// be one of the first two.
var variable = regexp.MustCompile(`\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}|\$\{`)

// substitute puts the environment into text, which stands at n.
func (r *reader) substitute(n *yaml.Node, text string) (string, bool) {
	if !strings.Contains(text, "$") {
		return text, true
	}
	ok := true
	text = variable.ReplaceAllStringFunc(text, func(found string) string {
		m := variable.FindStringSubmatch(found)
		name, fallback := m[1], m[3]
		if found == "$$" {
			return "$"
		}
		if name == "" || strings.Contains(fallback, "${") {
			r.bad(n, "write ${NAME} or ${NAME:-default}, and $$ for a dollar sign", "cannot read the variable in %s", r.key)
			ok = false
			return ""
		}
		value, set := os.LookupEnv(name)
		switch {
		case value == "" && m[2] != "":
			return fallback
		case !set:
			r.bad(n, "set it, or write ${"+name+":-default}", "%s needs the variable %s, which is not set", r.key, name)
			ok = false
		}
		return value
	})
	return text, ok
}
