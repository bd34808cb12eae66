package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxProblems is how many are told at once.
const maxProblems = 100

// Problem is one thing that is wrong with a file, and where. Line and Column, in
// characters, count from 1.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Error is file:line:column: message; hint.
func (p Problem) Error() string {
	text := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	return text
}

// Problems is all that is wrong with a file, in order of lines; what is wrong with
// its env files comes after.
type Problems []Problem

func (all Problems) Error() string {
	lines := make([]string, len(all))
	for i, p := range all {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted is all in order, each once: an anchor that is used twice has its problems
// once.
func (all Problems) sorted(main string) Problems {
	slices.SortStableFunc(all, func(a, b Problem) int {
		if byFile := cmp.Compare(a.File, b.File); byFile != 0 {
			switch main {
			case a.File:
				return -1
			case b.File:
				return 1
			}
			return byFile
		}
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(all)
}
