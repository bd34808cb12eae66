package manifest

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a file, and where. Line and Column
// count from 1.
type Problem struct {
	File         string `json:"file"`
	Line, Column int
	Message      string
	Hint         string
}

// Error is file:line:column: message; hint.
func (p Problem) Error() string {
	text := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	return text
}

// Problems is all that is wrong with a file, in order of lines.
type Problems []Problem

func (all Problems) Error() string {
	lines := make([]string, len(all))
	for i, p := range all {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}
