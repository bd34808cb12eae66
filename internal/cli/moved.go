package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/segue-go/segue/client"
)

// moveLines is what became of the live connections of a generation that left.
func moveLines(d client.Drain) (lines []string) {
	if len(d.Moved)+len(d.Stayed) > 0 {
		line := "  moved " + count(total(d.Moved), "connection", "connections")
		if len(d.Moved) > 0 {
			line += fmt.Sprintf(" (%s) in %s, longest pause %s", byKind(d.Moved), short(d.MoveTook), short(d.LongestPause))
		}
		if len(d.Stayed) > 0 {
			line += fmt.Sprintf("; %d stayed: %s", total(d.Stayed), byReason(d.Stayed))
		}
		lines = append(lines, line)
	}
	if len(d.Goodbyes) > 0 {
		lines = append(lines, "  told "+count(total(d.Goodbyes), "client", "clients")+" to come back: "+byReason(d.Goodbyes))
	}
	return lines
}

func total(m map[string]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}

func byKind(m map[string]int) string {
	keys := ranked(m)
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%d %s", m[k], clean(k))
	}
	return strings.Join(keys, ", ")
}

func byReason(m map[string]int) string {
	keys := ranked(m)
	for i, k := range keys {
		keys[i] = clean(k)
		if len(m) > 1 {
			keys[i] += fmt.Sprintf(" (%d)", m[k])
		}
	}
	return strings.Join(keys, ", ")
}

// ranked is the keys, the most frequent first.
func ranked(m map[string]int) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
}
