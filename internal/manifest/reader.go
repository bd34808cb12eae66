package manifest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/segue-go/segue/internal/closest"
	"go.yaml.in/yaml/v3"
)

// maxVisits bounds how many nodes are read: far more than a file of maxSize has
// without aliases, far less than what aliases can make of one.
const maxVisits = 500_000

// reader is one reading of a file: where it is, and what was wrong so far.
type reader struct {
	path     string // as it was given
	dir      string // absolute; relative paths begin there
	sections []section
	problems Problems
	key      string // whose value is being read
	raw      string // the scalar that was read last, as it was written, in quotes
	visits   int
	stopped  bool // enough was found: nothing more is read
}

// bad notes a problem at n.
func (r *reader) bad(n *yaml.Node, hint, format string, args ...any) {
	r.note(Problem{File: r.path, Line: max(n.Line, 1), Column: max(n.Column, 1), Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (r *reader) note(p Problem) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, p)
	}
	r.stopped = r.stopped || len(r.problems) == maxProblems
}

// cannot notes that n cannot be the value of the key.
func (r *reader) cannot(n *yaml.Node, called, hint string) {
	what := shown(n)
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		r.bad(n, "write one, or remove the key", "%s has no value: it must be %s", r.key, called)
		return
	}
	r.bad(n, hint, "cannot use %s as %s: it must be %s", what, r.key, called)
}

// shown is what stands at n, as it was written.
func shown(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return quote(n.Value)
}

func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// plain tags are those that a file may have, or write out.
var plainTags = []string{"", "!", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq", "!!merge", "!!timestamp"}

// deref is n, or what it is an alias of.
func (r *reader) deref(n *yaml.Node) *yaml.Node {
	if r.visits++; r.visits == maxVisits {
		r.stopped = true
		r.bad(n, "write less with aliases, or split the file", "cannot read on: there are more than %d values when aliases are followed", maxVisits)
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Style&yaml.TaggedStyle != 0 && !slices.Contains(plainTags, n.Tag) {
		r.bad(n, "remove the tag", "cannot read a value with the tag %s", quote(n.Tag))
	}
	return n
}

// pair is a key with its value.
type pair struct{ key, value *yaml.Node }

// pairs are those of a mapping, its own first, then what is merged into it. ok is
// false when n is no mapping, which was noted.
func (r *reader) pairs(n *yaml.Node, called string) (all []pair, ok bool) {
	n = r.deref(n)
	if n.Kind != yaml.MappingNode {
		r.cannot(n, called, "write key: value")
		return nil, false
	}
	there := map[string]*yaml.Node{}
	r.collect(n, there, &all, nil)
	return all, true
}

// collect adds the pairs of n that are not there yet. within are the mappings that
// n is merged into.
func (r *reader) collect(n *yaml.Node, there map[string]*yaml.Node, all *[]pair, within []*yaml.Node) {
	own := map[string]*yaml.Node{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content) && !r.stopped; i += 2 {
		key, value := r.deref(n.Content[i]), n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.Tag == "!!merge" {
			merged = append(merged, value)
			continue
		}
		if key.Kind != yaml.ScalarNode {
			r.bad(n.Content[i], "a key is a word", "cannot use %s as a key", shown(key))
			continue
		}
		if first := own[key.Value]; first != nil {
			r.bad(n.Content[i], "remove one of the two", "%s is there twice: the first is at %d:%d", quote(key.Value), first.Line, first.Column)
			continue
		}
		own[key.Value] = n.Content[i]
		if there[key.Value] == nil {
			there[key.Value] = n.Content[i]
			*all = append(*all, pair{n.Content[i], value})
		}
	}
	for _, m := range merged {
		for _, from := range r.mergedFrom(m) {
			if slices.Contains(within, from) || from == n {
				r.bad(m, "merge another mapping", "cannot merge a mapping into itself")
			} else if !r.stopped {
				r.collect(from, there, all, append(within, n))
			}
		}
	}
}

// mergedFrom are the mappings that a merge key names: one, or a list of them.
func (r *reader) mergedFrom(n *yaml.Node) []*yaml.Node {
	list := []*yaml.Node{n}
	if d := r.deref(n); d.Kind == yaml.SequenceNode {
		list = d.Content
	}
	var all []*yaml.Node
	for _, n := range list {
		if d := r.deref(n); d.Kind == yaml.MappingNode {
			all = append(all, d)
		} else {
			r.bad(n, "write an alias of one, as in <<: *defaults", "cannot merge %s: it must be a mapping", shown(d))
		}
	}
	return all
}

// unknown notes a key that the section s does not have.
func (r *reader) unknown(key *yaml.Node, s section) {
	k := r.deref(key).Value
	r.bad(key, r.meant(k, s), "%s has no key %s", s.called, quote(k))
}

// meant says what a key that s does not have may have been meant to be.
func (r *reader) meant(key string, s section) string {
	var names []string
	for _, row := range s.rows {
		names = append(names, row.name)
	}
	if word := closest.Word(strings.ToLower(strings.ReplaceAll(key, "-", "_")), names); word != "" {
		return "did you mean " + word + "?"
	}
	for _, other := range r.sections {
		if slices.ContainsFunc(other.rows, func(row row) bool { return row.name == key }) {
			return "it is a key of " + other.called
		}
	}
	if len(names) > 10 {
		return "docs/SEGUE_YAML.md has its keys"
	}
	return "its keys are " + enumerate(names, "and")
}

// enumerate is "a, b and c".
func enumerate(words []string, last string) string {
	n := len(words) - 1
	if n < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}

// file is a path of the manifest, absolute.
func (r *reader) file(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(r.dir, path)
}
