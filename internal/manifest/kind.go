package manifest

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segue-go/segue/internal/closest"
	"go.yaml.in/yaml/v3"
)

// kind is a sort of value. read returns false when it has noted a problem.
type kind[T any] struct {
	called   string // in messages and in the reference, with its article
	schema   schema
	sections []section                    // of the mappings in it
	parse    func(text string) (T, error) // of a scalar; nil for others
	read     func(r *reader, n *yaml.Node) (T, bool)
}

// at is a value with the place where it stands.
type at[T any] struct {
	value T
	node  *yaml.Node // nil when it is a default, or not there
}

// placed is k with the place.
func placed[T any](k kind[T]) kind[at[T]] {
	return kind[at[T]]{called: k.called, schema: k.schema, sections: k.sections, read: func(r *reader, n *yaml.Node) (at[T], bool) {
		v, ok := k.read(r, n)
		return at[T]{v, n}, ok
	}}
}

// scalar makes a kind of one word or number. parse gets it with the environment in
// it; its error is the hint, which may be "".
func scalar[T any](called string, s schema, parse func(text string) (T, error)) kind[T] {
	return kind[T]{called: called, schema: orVariable(s), parse: parse, read: func(r *reader, n *yaml.Node) (v T, ok bool) {
		n = r.deref(n)
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
			r.cannot(n, called, "")
			return v, false
		}
		text, ok := r.substitute(n, n.Value)
		if !ok {
			return v, false
		}
		r.raw = quote(n.Value)
		v, err := parse(text)
		switch {
		case err != nil && text != n.Value:
			r.cannot(n, called, "look at what the variable is set to")
		case err != nil:
			r.cannot(n, called, err.Error())
		}
		return v, err == nil
	}}
}

// checked is k for which test must say nothing. Its error has the message and,
// after the last "; ", the hint.
func checked[T any](k kind[T], test func(r *reader, v *T) error) kind[T] {
	read := k.read
	k.read = func(r *reader, n *yaml.Node) (T, bool) {
		v, ok := read(r, n)
		if !ok {
			return v, false
		}
		if err := test(r, &v); err != nil {
			message, hint := err.Error(), ""
			if i := strings.LastIndex(message, "; "); i > 0 {
				message, hint = message[:i], message[i+2:]
			}
			r.bad(n, hint, "%s", message)
			return v, false
		}
		return v, true
	}
	return k
}

// convert is k as another type.
func convert[A, B any](k kind[A], to func(A) B) kind[B] {
	return kind[B]{called: k.called, schema: k.schema, sections: k.sections, read: func(r *reader, n *yaml.Node) (B, bool) {
		v, ok := k.read(r, n)
		return to(v), ok
	}}
}

// text is any word: numbers too are taken as they are written. No message has it.
func text(called string) kind[string] {
	k := scalar(called, schema{"type": []string{"string", "number", "boolean"}}, func(text string) (string, error) { return text, nil })
	return checked(k, func(r *reader, v *string) error {
		if strings.ContainsRune(*v, 0) {
			return fmt.Errorf("cannot use a text with a NUL as %s; remove it", r.key)
		}
		return nil
	})
}

// matching is text of one form.
func matching(called string, form *regexp.Regexp) kind[string] {
	return scalar(called, schema{"type": "string", "pattern": form.String()}, func(text string) (string, error) {
		if !form.MatchString(text) {
			return "", errors.New("")
		}
		return text, nil
	})
}

var boolean = scalar("true or false", schema{"type": "boolean"}, func(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "yes", "on", "1":
		return false, errors.New("did you mean true?")
	case "no", "off", "0":
		return false, errors.New("did you mean false?")
	}
	return false, errors.New("")
})

func integer(least, most int) kind[int] {
	called := fmt.Sprintf("a whole number from %d to %d", least, most)
	if least == most {
		called = strconv.Itoa(least)
	}
	return scalar(called, schema{"type": "integer", "minimum": least, "maximum": most}, func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			return 0, errors.New("")
		}
		return n, nil
	})
}

const unlimited = "unlimited"

// orUnlimited is the scalar k, or the word, which is read as none.
func orUnlimited[T any](k kind[T], none T) kind[T] {
	plain := k.schema["anyOf"].([]schema)[0]
	return scalar(k.called+", or "+unlimited, schema{"anyOf": []schema{plain, {"const": unlimited}}}, func(text string) (T, error) {
		if text == unlimited {
			return none, nil
		}
		return k.parse(text)
	})
}

const durationForm = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`

// duration is positive, or 0 where that means something.
func duration(zero bool) kind[time.Duration] {
	called, form := "a duration such as 500ms, 10s or 2m", durationForm
	if zero {
		called, form = "a duration such as 500ms, 10s or 2m, or 0", `^0$|`+durationForm
	}
	s := schema{"type": "string", "pattern": form}
	if zero {
		s = schema{"anyOf": []schema{s, {"const": 0}}}
	}
	return scalar(called, s, func(text string) (time.Duration, error) {
		d, err := time.ParseDuration(text)
		switch {
		case err == nil && (d > 0 || d == 0 && zero):
			return d, nil
		case err == nil && d == 0:
			return 0, errors.New("it cannot be 0")
		case err == nil:
			return 0, errors.New("it cannot be negative")
		}
		if days, ok := strings.CutSuffix(text, "d"); ok {
			if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 10000 {
				return 0, fmt.Errorf("did you mean %dh?", 24*n)
			}
		}
		if _, err := strconv.ParseUint(text, 10, 32); err == nil {
			return 0, fmt.Errorf("did you mean %ss?", text)
		}
		return 0, errors.New("")
	})
}

var sizeForm = regexp.MustCompile(`^([0-9]+) ?([KMGT]?)(i?B)?$`)

// size is an amount of bytes, in units of 1024, or just a number.
func size(least uint64) kind[uint64] {
	form := schema{"type": []string{"string", "integer"}, "pattern": sizeForm.String(), "minimum": least}
	return scalar("a size such as 512KB, 64MB or 1GB", form, func(text string) (uint64, error) {
		m := sizeForm.FindStringSubmatch(text)
		if m == nil {
			if sizeForm.MatchString(strings.ToUpper(text)) {
				return 0, fmt.Errorf("did you mean %s?", strings.ToUpper(text))
			}
			return 0, errors.New("")
		}
		n, err := strconv.ParseUint(m[1], 10, 63)
		shift := map[string]int{"K": 10, "M": 20, "G": 30, "T": 40}[m[2]]
		switch {
		case err != nil || n > math.MaxInt64>>shift:
			return 0, errors.New("it is too large")
		case n < least:
			return 0, errors.New("it is too small")
		}
		return n << shift, nil
	})
}

var modeForm = regexp.MustCompile(`^0?[0-7]{3}$`)

// octal is bits of permission.
var octal = scalar(`three octal digits such as "027"`, schema{"type": []string{"string", "integer"}, "pattern": modeForm.String()}, func(text string) (uint32, error) {
	if !modeForm.MatchString(text) {
		return 0, errors.New("")
	}
	n, err := strconv.ParseUint(text, 8, 32)
	return uint32(n), err
})

// word is one of a few, with what it stands for.
type word[T any] struct {
	word string
	is   T
}

func choice[T any](words ...word[T]) kind[T] {
	var all []string
	for _, w := range words {
		all = append(all, w.word)
	}
	called := enumerate(all, "or")
	return scalar(called, schema{"enum": all}, func(text string) (v T, err error) {
		if i := slices.Index(all, text); i >= 0 {
			return words[i].is, nil
		}
		if w := closest.Word(strings.ToLower(text), all); w != "" {
			return v, fmt.Errorf("did you mean %s?", w)
		}
		return v, errors.New("")
	})
}

// list is several of k.
func list[T any](k kind[T]) kind[[]T] {
	called := "a list, each " + k.called
	s := schema{"type": "array", "items": k.schema}
	return kind[[]T]{called: called, schema: s, sections: k.sections, read: func(r *reader, n *yaml.Node) (all []T, ok bool) {
		n = r.deref(n)
		if n.Kind != yaml.SequenceNode {
			r.cannot(n, called, "put it in [ ], or begin it with -")
			return nil, false
		}
		ok = true
		for _, e := range n.Content {
			if r.stopped {
				return all, false
			}
			v, good := k.read(r, e)
			if good {
				all = append(all, v)
			}
			ok = ok && good
		}
		return all, ok
	}}
}

// oneOrMore is a list, for which one may stand alone.
func oneOrMore[T any](k kind[T]) kind[[]T] {
	many := list(k)
	s := schema{"anyOf": []schema{k.schema, many.schema}}
	return kind[[]T]{called: k.called + ", or a list of such", schema: s, sections: k.sections, read: func(r *reader, n *yaml.Node) ([]T, bool) {
		if r.deref(n).Kind == yaml.SequenceNode {
			return many.read(r, n)
		}
		v, ok := k.read(r, n)
		if !ok {
			return nil, false
		}
		return []T{v}, true
	}}
}

// either is a mapping that is read by long, or something else that is read by short.
func either[T any](short, long kind[T]) kind[T] {
	s := schema{"anyOf": []schema{short.schema, long.schema}}
	return kind[T]{called: short.called + ", or " + long.called, schema: s, sections: long.sections, read: func(r *reader, n *yaml.Node) (T, bool) {
		if r.deref(n).Kind == yaml.MappingNode {
			return long.read(r, n)
		}
		return short.read(r, n)
	}}
}

// named is a mapping whose keys are names that the user chooses.
func named[T any](called string, name kind[string], k kind[T]) kind[[]entry[T]] {
	s := schema{"type": "object", "additionalProperties": k.schema, "propertyNames": name.schema["anyOf"].([]schema)[0]} // without orVariable's
	return kind[[]entry[T]]{called: called, schema: s, sections: k.sections, read: func(r *reader, n *yaml.Node) (all []entry[T], ok bool) {
		pairs, ok := r.pairs(n, called)
		outer := r.key
		defer func() { r.key = outer }()
		for _, p := range pairs {
			if r.stopped {
				return all, false
			}
			r.key = "the name in " + outer
			key, known := r.literal(p.key, name)
			r.key = outer + "." + r.deref(p.key).Value
			v, good := k.read(r, p.value)
			ok = ok && known && good
			if known {
				all = append(all, entry[T]{at[string]{key, p.key}, at[T]{v, p.value}, good})
			}
		}
		return all, ok
	}}
}

// entry is a name with its value. good is false when something was wrong with the
// value, which is then what could be read of it.
type entry[T any] struct {
	name  at[string]
	value at[T]
	good  bool
}

// literal reads a key, in which $ is just a letter.
func (r *reader) literal(n *yaml.Node, k kind[string]) (string, bool) {
	c := *r.deref(n)
	c.Line, c.Column = n.Line, n.Column
	c.Value = strings.ReplaceAll(c.Value, "$", "$$")
	if c.Tag == "!!null" {
		c.Tag = "!!str"
	}
	return k.read(r, &c)
}
