package client

import (
	"slices"
	"strconv"
	"strings"
)

// Names are the services, in the order in which they are started. One that has
// several instances is one name.
func (o Overview) Names() (names []string) {
	for _, s := range o.Services {
		if n := o.base(s.Service); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// Of is the status of a service: of each of its instances, or of the one instance
// that has this name. It is empty when there is no such service; "" is all.
func (o Overview) Of(service string) (found []Status) {
	for _, s := range o.Services {
		if service == "" || InService(s.Service, service) {
			found = append(found, s)
		}
	}
	return found
}

// InService says whether what is told of name, as in Status.Service and
// Event.Service, is about the service: it is that one, or one of its instances.
func InService(name, service string) bool {
	return name == service || instanceOf(name) == service
}

// base: "web.1" is an instance when there is a second one or more of them, and
// otherwise a service with a strange name.
func (o Overview) base(name string) string {
	if b := instanceOf(name); b != "" && len(o.Of(b)) > 1 {
		return b
	}
	return name
}

// instanceOf is the service of which name can be an instance; "" for none.
func instanceOf(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 1 {
		return ""
	}
	if n, err := strconv.Atoi(name[i+1:]); err != nil || n < 1 {
		return ""
	}
	return name[:i]
}
