package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// envFile is a file of NAME=value lines, as the environment that it makes.
var envFile = func() kind[[]string] {
	path := text("a file of NAME=value lines")
	return kind[[]string]{called: path.called, schema: path.schema, read: func(r *reader, n *yaml.Node) ([]string, bool) {
		name, ok := path.read(r, n)
		if !ok {
			return nil, false
		}
		data, err := readFile(r.file(name))
		if err != nil {
			why, hint := err.Error(), "correct the path"
			if errors.Is(err, fs.ErrNotExist) {
				why, hint = "there is no such file", "make it, or correct the path"
			}
			r.bad(n, hint, "cannot read the env file %s: %s", shown(r.deref(n)), why)
			return nil, false
		}
		shownPath := name
		if !filepath.IsAbs(name) {
			shownPath = filepath.Join(filepath.Dir(r.path), name)
		}
		env, problems := parseEnv(shownPath, data)
		for _, p := range problems {
			r.note(p)
		}
		return env, len(problems) == 0
	}}
}()

// readFile reads what is not above maxSize. Its error does not have the path.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeCharDevice {
		err = errors.New("it is not a file")
	}
	if err == nil && info.Size() > maxSize {
		err = fmt.Errorf("it has more than %d bytes", maxSize)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return data, err
}

// parseEnv reads lines of NAME=value. Blank lines and those that begin with # are
// passed over, `export ` before a name too. A value may be in quotes; in double
// ones \n, \t, \", \\ and \$ are what they are in a shell. What comes after " #" is a
// comment. No message has a value in it.
func parseEnv(path string, data []byte) (env []string, problems []Problem) {
	bad := func(line, column int, message, hint string) {
		if len(problems) < maxProblems {
			problems = append(problems, Problem{path, line, column, "cannot read this line: " + message, hint})
		}
	}
	data = []byte(strings.TrimPrefix(string(data), "\ufeff"))
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		body := strings.TrimLeft(line, " \t")
		if body == "" || body[0] == '#' {
			continue
		}
		column := utf8.RuneCountInString(line[:len(line)-len(body)]) + 1
		if rest, ok := strings.CutPrefix(body, "export "); ok {
			body = strings.TrimLeft(rest, " \t")
		}
		name, value, ok := strings.Cut(body, "=")
		name = strings.TrimRight(name, " \t")
		switch {
		case !utf8.ValidString(line) || strings.ContainsRune(line, 0):
			bad(number, column, "it is not text", "write it in UTF-8")
			continue
		case !ok:
			bad(number, column, "there is no =", "write NAME=value, or # before a comment")
			continue
		case name == "" || strings.ContainsAny(name, " \t\"'"):
			bad(number, column, "what is before the = is no name", "write NAME=value")
			continue
		}
		value, err := envValue(strings.TrimSpace(value))
		if err != nil {
			message, hint, _ := strings.Cut(err.Error(), "; ")
			bad(number, column, message, hint)
			continue
		}
		env = append(env, name+"="+value)
	}
	return env, problems
}

var escapes = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\"`, `"`, `\\`, `\`, `\$`, `$`)

func envValue(s string) (string, error) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		for _, comment := range []string{" #", "\t#"} {
			s, _, _ = strings.Cut(s, comment)
		}
		return strings.TrimRight(s, " \t"), nil
	}
	end := 1
	for end < len(s) && s[end] != s[0] {
		if s[end] == '\\' && s[0] == '"' {
			end++
		}
		end++
	}
	if end >= len(s) {
		return "", fmt.Errorf("a %c is not closed; close it on the same line", s[0])
	}
	if rest := strings.TrimSpace(s[end+1:]); rest != "" && rest[0] != '#' {
		return "", fmt.Errorf("something follows the closing %c; put all of the value in quotes", s[0])
	}
	value := s[1:end]
	if s[0] == '"' {
		value = escapes.Replace(value)
	}
	return value, nil
}
