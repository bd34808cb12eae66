package manifest

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// printable says whether data is text, and where it is not. YAML allows no control
// characters (5.1 of its specification); the byte order mark may come first.
func printable(data []byte) (line, column int, ok bool) {
	line, column = 1, 1
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		switch {
		case c == '\n':
			line, column = line+1, 0
		case c == '\ufeff' && i == 0:
			column = 0
		case c == utf8.RuneError && size == 1,
			c < ' ' && c != '\t' && c != '\r',
			c >= 0x7f && c < 0xa0,
			c >= 0xfffe && c <= 0xffff || c == '\ufeff',
			c == '\u2028' || c == '\u2029': // which would be lines to YAML, and to no editor
			return line, column, false
		}
		column++
		i += size
	}
	return 0, 0, true
}

var yamlError = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)$`)

// yamlHints are what to do about errors that have the text in them.
var yamlHints = []struct{ text, hint string }{
	{"tab character", "indent with spaces"},
	{"mapping values are not allowed", "put the value in quotes, or indent the line as its neighbours"},
	{"',' or '", "close the bracket, and put what has one in it in quotes"},
	{"expected node content", "put the value in quotes"},
	{"cannot start any token", "put the value in quotes"},
	{"unexpected end of stream", "close the quotes"},
	{"expected ':'", "write key: value"},
	{"unknown anchor", "define it above, as in x-defaults: &defaults"},
	{"expected key", "indent the line as its neighbours"},
	{"'-' indicator", "indent the line as its neighbours"},
}

// badYAML notes what the parser of YAML has said.
func (r *reader) badYAML(data []byte, err error) {
	m := yamlError.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	if m == nil {
		m = []string{"", "", err.Error()}
	}
	line := brokenLine(data)
	if line == 0 {
		line, _ = strconv.Atoi(m[1])
	}
	lines := bytes.Split(data, []byte("\n"))
	line = min(max(line, 1), len(lines))
	text := lines[line-1]
	n := yaml.Node{Line: line, Column: 1 + len(text) - len(bytes.TrimLeft(text, " \t"))}
	hint := ""
	for _, h := range yamlHints {
		if strings.Contains(m[2], h.text) {
			hint = h.hint
			break
		}
	}
	if bytes.ContainsRune(text[:n.Column-1], '\t') {
		hint = yamlHints[0].hint
	}
	r.bad(&n, hint, "this is not YAML: %s", m[2])
}

// maxSearch is up to how many bytes the broken line is looked for.
const maxSearch = 32 << 10

// brokenLine is the first after the last up to which data is YAML. The parser's
// errors have the line where the construct began, or none, and are off by one for
// some; 0 is not known.
func brokenLine(data []byte) int {
	if len(data) > maxSearch {
		return 0
	}
	ends := []int{0}
	for i, c := range data {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	for i := len(ends) - 1; i > 0; i-- {
		if ends[i] == len(data) {
			continue // the whole is broken
		}
		if isYAML(data[:ends[i]]) {
			return i + 1
		}
	}
	return 1
}

func isYAML(data []byte) bool {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		if err := decoder.Decode(&n); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}
