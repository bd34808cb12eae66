package manifest

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// object is a mapping with keys of its own, which is read into an O.
type object[O any] struct {
	called string // with its article: "a service"
	about  string // in the schema and the reference; may be ""
	extra  string // keys that begin so are passed over; "" for none
	keys   []key[O]
	check  func(r *reader, n *yaml.Node, o *O) // of what one key alone cannot tell, as far as it could be read; may be nil
}

// key is one key of an object.
type key[O any] struct {
	row
	set func(r *reader, o *O, n *yaml.Node) bool
}

// required stands where a default would.
const required = "required"

// field makes a key whose value belongs at to. standard is its default, as it
// would be written; "" means that nothing is set.
func field[O, T any](name string, k kind[T], standard, means string, to func(*O) *T) key[O] {
	return key[O]{
		row{name: name, called: k.called, standard: standard, means: means, schema: k.schema, sections: k.sections},
		func(r *reader, o *O, n *yaml.Node) (ok bool) {
			*to(o), ok = k.read(r, n)
			return ok
		},
	}
}

func (obj object[O]) section() section {
	s := section{called: obj.called, about: obj.about, extra: obj.extra}
	for _, k := range obj.keys {
		s.rows = append(s.rows, k.row)
	}
	return s
}

// kind is the mapping as the value of a key.
func (obj object[O]) kind() kind[O] {
	s := obj.section()
	called := "a mapping with the keys of " + obj.called
	return kind[O]{called: called, schema: s.schema(), sections: s.all(), read: func(r *reader, n *yaml.Node) (o O, ok bool) {
		pairs, ok := r.pairs(n, called)
		if !ok {
			return o, false
		}
		outer := r.key
		defer func() { r.key = outer }()
		given := map[string]*yaml.Node{}
		for _, p := range pairs {
			given[r.deref(p.key).Value] = p.value
		}
		for _, p := range pairs {
			if r.stopped {
				return o, false
			}
			if name := r.deref(p.key).Value; !s.has(name) && (obj.extra == "" || !strings.HasPrefix(name, obj.extra)) {
				r.unknown(p.key, s)
				ok = false
			}
		}
		for _, k := range obj.keys {
			r.key = k.name
			switch v := given[k.name]; {
			case r.stopped:
				return o, false
			case v != nil:
				ok = k.set(r, &o, v) && ok
			case k.standard == required:
				r.bad(n, "add "+k.name, "%s needs the key %s: %s", obj.called, k.name, k.called)
				ok = false
			case k.standard != "":
				k.set(r, &o, literal(k.standard))
			}
		}
		r.key = outer
		if obj.check != nil {
			before := len(r.problems)
			obj.check(r, n, &o)
			ok = ok && len(r.problems) == before
		}
		return o, ok
	}}
}

// literal is the node of a default.
func literal(standard string) *yaml.Node {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(standard), &n); err != nil {
		panic(err) // of the table
	}
	return n.Content[0]
}
