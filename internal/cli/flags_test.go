package cli

import (
	"strings"
	"testing"

	"github.com/segue-go/segue/handover"
)

func FuzzListen(f *testing.F) {
	for _, s := range []string{"web=:8080", "web=unix:/run/shop.sock", "a=b", "=", "web=unix:", "web=[::1]:80", "web==:1", "we:b=:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var l listenFlag
		if l.Set(s) != nil {
			if len(l) != 0 {
				t.Errorf("%q was refused and taken", s)
			}
			return
		}
		if l[0].Name+"="+l[0].Addr != s || handover.CheckName(l[0].Name) != nil {
			t.Errorf("%q became %+v", s, l[0])
		}
		if _, _, err := handover.SplitAddr(l[0].Addr); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if l.Set(s) == nil {
			t.Errorf("%q was taken twice", s)
		}
	})
}

func FuzzEnv(f *testing.F) {
	for _, s := range []string{"A=b", "A=", "=b", "A", "A=b=c", "A=\x00", "A B=c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var e envFlag
		if e.Set(s) != nil {
			return
		}
		k, _, ok := strings.Cut(e[0], "=")
		if e[0] != s || !ok || k == "" || strings.ContainsRune(s, 0) {
			t.Errorf("%q became %q", s, e)
		}
	})
}

func FuzzProbe(f *testing.F) {
	for _, s := range []string{"/healthz", "web=/healthz", "/a=b", "web=", "=/x", "web", "/a b", "a=b=/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var p probeFlag
		if p.Set(s) != nil {
			return
		}
		if again := strings.TrimPrefix(p.probe.Socket+"="+p.probe.Path, "="); again != s || p.probe.Path[0] != '/' {
			t.Errorf("%q became %+v", s, p.probe)
		}
		if strings.ContainsAny(p.probe.Path, " \r\n") {
			t.Errorf("%q could split a request line", s)
		}
	})
}
