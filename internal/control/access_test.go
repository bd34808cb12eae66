package control

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/segue-go/segue/client"
)

// as makes whoever connects look like this.
func as(who peer, err error) func(*Server) {
	return func(s *Server) { s.peer = func(net.Conn) (peer, error) { return who, err } }
}

// TestWhoMay asks every route as everybody.
func TestWhoMay(t *testing.T) {
	f := &fake{reader: func(uid int, groups []int) bool { return len(groups) > 0 && groups[0] == 50 }}
	us := os.Geteuid()
	for name, c := range map[string]struct {
		who      peer
		err      error
		may      access
		refusals string
	}{
		"root":       {peer{uid: 0, groups: []int{0}}, nil, change, ""},
		"the owner":  {peer{uid: us}, nil, change, ""},
		"a reader":   {peer{uid: us + 1, groups: []int{50}}, nil, read, fmt.Sprintf("user %d may look at this supervisor, which runs as user %d, but not change anything", us+1, us)},
		"a stranger": {peer{uid: us + 1, groups: []int{51}}, nil, nothing, fmt.Sprintf("user %d may not control this supervisor, which runs as user %d", us+1, us)},
		"nobody":     {peer{}, errors.New("nobody knows"), nothing, "cannot tell who is asking: nobody knows"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := serve(t, f, as(c.who, c.err))
			for _, r := range (&Server{backend: f}).routes() {
				// Strictness is the second thing that is asked for: nothing is done here.
				path := strings.ReplaceAll(r.path, "{service}", "shop")
				if r.takes != nil || r.method == http.MethodPost {
					path += "?nonsense=1"
				}
				status, answer := raw(t, socket, r.method, path, "nonsense")
				if refused := status == http.StatusForbidden; refused != (c.may < r.may) || refused && !strings.Contains(answer, c.refusals) {
					t.Errorf("%s %s: %d %s", r.method, path, status, answer)
				}
			}
			// Not even what there is.
			if status, _ := raw(t, socket, "GET", "/v1", ""); (status == http.StatusForbidden) != (c.may == nothing) {
				t.Errorf("an unknown path was answered with %d", status)
			}
		})
	}
}

func TestReadersLook(t *testing.T) {
	f := &fake{reader: func(int, []int) bool { return true }}
	c := client.New(serve(t, f, as(peer{uid: os.Geteuid() + 1}, nil)))
	if all, err := c.Overview(t.Context()); err != nil || all.Name != "shop" {
		t.Errorf("got %+v, %v", all, err)
	}
	_, err := c.Stop(t.Context(), "", nil)
	var refused *client.Error
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, "not change anything") {
		t.Errorf("got %v", err)
	}
}
