package manifest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// operators are what a shell would act upon. None of them is quoted.
var operators = []string{"&&", "||", "$(", ">>", "<<", "|", "&", ";", "<", ">", "(", ")", "`", "\n"}

var (
	assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	bare       = regexp.MustCompile(`^\$[A-Za-z_][A-Za-z0-9_]*`)
	whole      = regexp.MustCompile(`^(\$\$|\$\{[^}]*\})`)
)

// errShell is what only a shell understands.
type errShell struct{ operator string }

func (e errShell) Error() string {
	return "there is " + e.operator + " in it, which only a shell understands"
}

// split makes words of a command the way a shell does: blanks separate, quotes and
// backslashes hold together. Nothing is expanded; ${NAME} and $$ are left as they
// are, and are never split.
func split(s string) (words []string, err error) {
	var word strings.Builder
	started := false // a word may be empty: ''
	quote := byte(0)
	end := func() {
		if started {
			words = append(words, word.String())
		}
		word.Reset()
		started = false
	}
	for i := 0; i < len(s); i++ {
		c, rest := s[i], s[i:]
		if v := whole.FindString(rest); v != "" {
			word.WriteString(v)
			i, started = i+len(v)-1, true
			continue
		}
		if quote != '\'' {
			if v := bare.FindString(rest); v != "" {
				return nil, fmt.Errorf("%s is not expanded; write ${%s}, or [sh, -c, \"...\"] for a shell", v, v[1:])
			}
			if strings.HasPrefix(rest, "$(") || c == '`' {
				return nil, errShell{operators[slices.IndexFunc(operators, func(o string) bool { return strings.HasPrefix(rest, o) })]}
			}
		}
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'':
			if i+1 == len(s) {
				return nil, errors.New("a backslash is the last character; double it, or remove it")
			}
			i++
			if quote == '"' && !strings.ContainsRune("\"\\$`\n", rune(s[i])) {
				word.WriteByte('\\')
			}
			if s[i] == '$' {
				word.WriteByte('$') // $$ is what stands for one
			}
			word.WriteByte(s[i])
			started = true
		case quote != 0:
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, started = c, true
		case c == ' ' || c == '\t':
			end()
		default:
			for _, o := range operators {
				if strings.HasPrefix(rest, o) {
					return nil, errShell{strings.ReplaceAll(o, "\n", "a new line")}
				}
			}
			word.WriteByte(c)
			started = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a %c is not closed; close it, or put a backslash before it", quote)
	}
	end()
	return words, nil
}

var argument = text("a text")

// command is a program with its arguments, either in one string or in a list.
var command = kind[[]string]{
	called: "a program with its arguments: a list, or a string that is split as a shell does",
	schema: schema{"anyOf": []schema{{"type": "string"}, {"type": "array", "items": argument.schema, "minItems": 1}}},
	read: func(r *reader, n *yaml.Node) ([]string, bool) {
		d := r.deref(n)
		var argv []string
		name, place, ok := "", d, true
		switch {
		case d.Kind == yaml.SequenceNode:
			if argv, ok = list(argument).read(r, n); !ok {
				return nil, false
			}
			if len(d.Content) > 0 {
				place = d.Content[0]
				name = r.deref(place).Value
			}
		case d.Kind == yaml.ScalarNode && d.Tag != "!!null":
			words, err := split(d.Value)
			var shell errShell
			switch {
			case errors.As(err, &shell):
				r.bad(d, `write [sh, -c, "..."] to have one`, "cannot split %s: %v", r.key, err)
				return nil, false
			case err != nil:
				message, hint, _ := strings.Cut(err.Error(), "; ")
				r.bad(d, hint, "cannot split %s: %s", r.key, message)
				return nil, false
			case len(words) > 1 && assignment.MatchString(words[0]):
				r.bad(d, "set the variable under env", "cannot use %s: it begins with an assignment", r.key)
				return nil, false
			}
			for _, w := range words {
				w, good := r.substitute(d, w)
				argv, ok = append(argv, w), ok && good
			}
			if !ok {
				return nil, false
			}
			if len(words) > 0 {
				name = words[0]
			}
		default:
			r.cannot(d, "a string or a list of them", "")
			return nil, false
		}
		if len(argv) == 0 || argv[0] == "" {
			r.bad(place, "write it first, as in [./shop, --verbose]", "%s names no program", r.key)
			return nil, false
		}
		argv[0], ok = r.program(place, name, argv[0])
		return argv, ok
	},
}
