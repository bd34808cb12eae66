package supervise

import (
	"encoding/json"
	"testing"

	"github.com/segue-go/segue/client"
)

// FuzzAccount: whatever a generation says of its leaving, it is taken as a whole
// or left out, and can be passed on.
func FuzzAccount(f *testing.F) {
	for _, s := range []string{
		`{"in_flight":2,"finished":1,"cut":[{"kind":"h1","state":"active","method":"GET","path":"/slow","remote":"127.0.0.1:1","age_ns":1500,"reason":"budget"}],"cut_more":3}`,
		`{}`, `null`, ``, `{`, `[]`, `"text"`, `{"in_flight":"many"}`, `{"in_flight":-1,"cut":null}`, `{"in_flight":1e99}`,
		`{"told":false,"killed":true,"exit":"lied","took_ns":9}`, `{"cut":[null]}`, "{\"cut\":[{\"path\":\"\\u001b[2J\\n\"}]}", `{} {}`,
		`{"IN_FLIGHT":7,"mood":"good"}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		first := &client.Drain{Told: true, Finished: 42}
		g := &generation{account: first}
		g.accountFor(data)
		var d client.Drain
		understood := json.Unmarshal([]byte(data), &d) == nil
		switch {
		case !understood && (g.account != first || first.Finished != 42):
			t.Fatalf("%q is not understood, and changed the account to %+v", data, g.account)
		case !understood:
			return
		case g.account == first || !g.account.Told:
			t.Fatalf("the account of %q is %+v", data, g.account)
		}
		if g.account.Finished != d.Finished || g.account.InFlight != d.InFlight || len(g.account.Cut) != len(d.Cut) || g.account.CutMore != d.CutMore {
			t.Fatalf("the account of %q is %+v", data, g.account)
		}
		if _, err := json.Marshal(client.Report{Drain: g.account}); err != nil {
			t.Fatalf("the account of %q cannot be passed on: %v", data, err)
		}
	})
}
