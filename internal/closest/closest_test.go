package closest

import "testing"

func TestWord(t *testing.T) {
	words := []string{"listen", "name", "dir", "drain-timeout", "probe", "probation", "json"}
	for typed, want := range map[string]string{
		"lsten": "listen", "nmae": "name", "drain": "drain-timeout", "prob": "probe", "verbose": "", "x": "", "": "", "jsno": "json",
	} {
		if got := Word(typed, words); got != want {
			t.Errorf("closest to %q is %q, want %q", typed, got, want)
		}
	}
}
