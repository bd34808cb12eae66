package manifest

import "slices"

// row is what the schema and the reference say of a key.
type row struct {
	name, called, standard, means string
	schema                        schema
	sections                      []section
}

// section is the keys of one mapping.
type section struct {
	called, about, extra string
	rows                 []row
}

func (s section) has(name string) bool {
	return slices.ContainsFunc(s.rows, func(r row) bool { return r.name == name })
}

// all is s with the sections of what it has in it.
func (s section) all() []section {
	list := []section{s}
	for _, r := range s.rows {
		list = append(list, r.sections...)
	}
	return list
}
