package segue

import (
	"context"
	"net/http"
	"testing"

	"github.com/segue-go/segue/handover"
)

// borrowed are the names and addresses of what the generation lends.
func borrowed(t testing.TB, l *handover.Link) map[string]string {
	t.Helper()
	all, err := l.Borrow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range all {
		ln, err := s.Listener()
		if err != nil {
			t.Fatal(err)
		}
		got[s.Name] = ln.Addr().String()
		ln.Close()
		s.File.Close()
	}
	return got
}

// TestASupervisorThatFollowsAnother is told what the generation is, and borrows its
// sockets, in whatever phase.
func TestASupervisorThatFollowsAnother(t *testing.T) {
	o := oversee(t)
	h := newHolder(t)
	s := o.supervised(Options{}, func(_ context.Context, app *App) error {
		app.HTTP("web", "127.0.0.1:0", h)
		app.HTTP("admin", "127.0.0.1:0", http.HandlerFunc(hello))
		return nil
	})
	l := o.link()
	if p := o.hears(handover.Hello).Fields["PHASE"]; p != "starting" {
		t.Errorf("at first it says that it is %q", p)
	}
	o.hears(handover.Ready)
	say(t, l, handover.Open, nil)
	want := map[string]string{"web": s.addr(t, "web"), "admin": s.addr(t, "admin")}
	c := dial(t, "tcp", want["web"])
	c.send("/slow")
	receive(t, "the request is in flight", h.entered)
	for phase, verb := range map[string]handover.Verb{"ready": handover.Resume, "paused": handover.Pause} {
		say(t, l, verb, nil)
		o.die()
		l.Close()
		o = overseeAt(t, o.path)
		l = o.link()
		if p := o.hears(handover.Hello).Fields["PHASE"]; p != phase {
			t.Errorf("it says that it is %q, not %q", p, phase)
		}
		o.hears(handover.Ready)
		got := borrowed(t, l)
		if len(got) != len(want) || got["web"] != want["web"] || got["admin"] != want["admin"] {
			t.Errorf("%s: %v, not %v", phase, got, want)
		}
	}
	say(t, l, handover.Resume, nil)
	say(t, l, handover.Drain, nil)
	o.die()
	l.Close()
	o = overseeAt(t, o.path)
	l = o.link()
	if p := o.hears(handover.Hello).Fields["PHASE"]; p != "draining" {
		t.Errorf("it says that it is %q, not draining", p)
	}
	for name, addr := range borrowed(t, l) { // what it has still
		if want[name] != addr {
			t.Errorf("%s is %s, not %s", name, addr, want[name])
		}
	}
	h.release()
	c.receive()
	c.Close()
	if _, err := s.ended(t); err != nil {
		t.Error(err)
	}
}

// TestAnInheritedSocketIsLentByItsOwnName, whatever its server is called.
func TestAnInheritedSocketIsLentByItsOwnName(t *testing.T) {
	o := oversee(t)
	ln := listenTCP(t)
	f, err := handover.Dup(ln, "http")
	if err != nil {
		t.Fatal(err)
	}
	in := handover.Inheritance{Control: o.path, Generation: 3, Sockets: []handover.Socket{{Name: "http", File: f}}}
	s := beginWith(t, Options{}, in, func(_ context.Context, app *App) error {
		app.HTTP("web", "127.0.0.1:0", http.HandlerFunc(hello))
		app.servers[0].any = true // as ListenAndServe has it
		return nil
	})
	l := o.link()
	o.hears(handover.Ready)
	if got := borrowed(t, l); len(got) != 1 || got["http"] != ln.Addr().String() {
		t.Errorf("%v; not http at %s", got, ln.Addr())
	}
	say(t, l, handover.Stop, nil)
	if _, err := s.ended(t); err != nil {
		t.Error(err)
	}
}

func TestNothingIsLentWhileItStarts(t *testing.T) {
	o := oversee(t)
	letGo := make(chan struct{})
	s := o.supervised(Options{}, func(_ context.Context, app *App) error {
		<-letGo
		app.HTTP("web", "127.0.0.1:0", http.HandlerFunc(hello))
		return nil
	})
	l := o.link()
	refused(t, l, handover.Lend, nil, "cannot lend sockets while the service is starting")
	close(letGo)
	o.hears(handover.Ready)
	say(t, l, handover.Stop, nil)
	if _, err := s.ended(t); err != nil {
		t.Error(err)
	}
}
