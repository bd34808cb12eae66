package client

import (
	"fmt"
	"testing"
)

func TestNames(t *testing.T) {
	o := Overview{}
	for _, name := range []string{"db", "web.1", "web.2", "v1.2", "web.x", "a.0", ".1", "cache.1", "cache.2", "cache.3"} {
		o.Services = append(o.Services, Status{Service: name})
	}
	if got, want := fmt.Sprint(o.Names()), "[db web v1.2 web.x a.0 .1 cache]"; got != want {
		t.Errorf("names %s, want %s", got, want)
	}
	for service, want := range map[string]int{"": 10, "db": 1, "web": 2, "web.2": 1, "cache": 3, "a": 0, "we": 0, "mail": 0} {
		if got := o.Of(service); len(got) != want {
			t.Errorf("%q is %+v", service, got)
		}
	}
}
